-- The conditions are kstatus conditions (Ready, Reconciling, Stalled) and Paused, which is True while a rollout is held.
-- The message of Stalled says why a release was rolled back and which release serves.

local function condition(kind)
  if obj.status.conditions ~= nil then
    for _, found in ipairs(obj.status.conditions) do
      if found.type == kind then
        return found
      end
    end
  end
  return {}
end

local function text(found)
  if found.reason == nil or found.reason == "" then
    return found.message or ""
  end
  if found.message == nil or found.message == "" then
    return found.reason
  end
  return found.reason .. ": " .. found.message
end

local hs = {}
if obj.status == nil or obj.status.conditions == nil then
  hs.status = "Progressing"
  hs.message = "Waiting for the operator to observe the object"
  return hs
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "Waiting for the operator to observe generation " .. tostring(obj.metadata.generation)
  return hs
end

local ready = condition("Ready")
local stalled = condition("Stalled")
local paused = condition("Paused")
-- Operators without the condition Paused show a hold by the phase, and a freeze as Stalled.
local held = paused.status == "True" or stalled.reason == "Frozen"
if paused.status == nil and (obj.status.phase == "Paused" or obj.status.phase == "Suspended") then
  held = true
end

if stalled.status == "True" and stalled.reason ~= "Frozen" then
  hs.status = "Degraded"
  hs.message = text(stalled)
elseif held then
  hs.status = "Suspended"
  if paused.status == "True" then
    hs.message = text(paused)
  else
    hs.message = obj.status.message
  end
elseif condition("Reconciling").status == "True" then
  hs.status = "Progressing"
  hs.message = ready.message
elseif ready.status == "True" then
  hs.status = "Healthy"
  hs.message = ready.message
else
  hs.status = "Progressing"
  hs.message = text(ready)
end
return hs
