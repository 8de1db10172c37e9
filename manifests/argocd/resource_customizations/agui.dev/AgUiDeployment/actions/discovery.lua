-- Generated from the transition table by `make generate`: the phases in which a request changes something.
-- `disabled` is display only: the operator refuses what the phase does not allow, and answers in .status.lastRequest.

local phases = {
  ["promote"] = {["Progressing"] = true, ["Paused"] = true},
  ["promote-full"] = {["Progressing"] = true, ["Paused"] = true},
  ["pause"] = {["Progressing"] = true},
  ["resume"] = {["Paused"] = true},
  ["abort"] = {["Resolving"] = true, ["BackingUp"] = true, ["Migrating"] = true, ["Publishing"] = true, ["Staging"] = true, ["Smoking"] = true, ["Progressing"] = true, ["Paused"] = true, ["Promoting"] = true, ["Baking"] = true},
  ["retry"] = {["RolledBack"] = true, ["Failed"] = true},
  ["undo"] = {["Healthy"] = true},
}

local status = obj.status or {}
local rollout = status.rollout or {}
local deleting = obj.metadata.deletionTimestamp ~= nil
local held_by_policy = status.phase == "Paused" and rollout.heldBy == "Policy"
local returnable = false
if status.conditions ~= nil then
  for _, condition in ipairs(status.conditions) do
    if condition.type == "RollbackReady" and condition.status == "True" then
      returnable = true
    end
  end
end

local function disabled(request)
  return deleting or status.phase == nil or phases[request][status.phase] == nil
end

local actions = {}
actions["promote"] = {
    ["disabled"] = disabled("promote") or held_by_policy,
    ["displayName"] = "Promote: end this step",
    ["iconClass"] = "fa fa-fw fa-step-forward",
}
actions["promote-full"] = {
    ["disabled"] = disabled("promote-full") or held_by_policy,
    ["displayName"] = "Promote in full: skip all steps",
    ["iconClass"] = "fa fa-fw fa-fast-forward",
}
actions["pause"] = {
    ["disabled"] = disabled("pause"),
    ["displayName"] = "Pause",
    ["iconClass"] = "fa fa-fw fa-pause",
}
actions["resume"] = {
    ["disabled"] = disabled("resume") or held_by_policy,
    ["displayName"] = "Resume",
    ["iconClass"] = "fa fa-fw fa-play",
}
actions["abort"] = {
    ["disabled"] = disabled("abort"),
    ["displayName"] = "Abort: restore the stable release",
    ["iconClass"] = "fa fa-fw fa-stop",
}
actions["retry"] = {
    ["disabled"] = disabled("retry"),
    ["displayName"] = "Retry the rejected release",
    ["iconClass"] = "fa fa-fw fa-redo",
}
actions["undo"] = {
    ["disabled"] = disabled("undo") or not returnable,
    ["params"] = {{["name"] = "release"}},
    ["displayName"] = "Undo: restore the release before",
    ["iconClass"] = "fa fa-fw fa-undo",
}

return actions
