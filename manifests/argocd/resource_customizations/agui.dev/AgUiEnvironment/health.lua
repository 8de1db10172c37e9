-- Ready is True when every cloud resource that the environment names exists. Stalled and Reconciling are kstatus
-- conditions; operators that do not set them say by Ready's reason whether a user has to act.

local function condition(kind)
  for _, found in ipairs(obj.status.conditions) do
    if found.type == kind then
      return found
    end
  end
  return {}
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
hs.message = ready.message
if stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = stalled.message
elseif condition("Reconciling").status == "True" then
  hs.status = "Progressing"
elseif ready.status == "True" then
  hs.status = "Healthy"
elseif ready.status == "False" and stalled.status == nil then
  hs.status = "Degraded"
else
  hs.status = "Progressing"
end
return hs
