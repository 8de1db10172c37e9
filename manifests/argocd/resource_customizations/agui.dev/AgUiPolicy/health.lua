-- A policy is in force as soon as it exists; an operator that reads policies without writing a status leaves no
-- conditions. Where there are conditions, they are kstatus conditions.

local hs = {}
if obj.status == nil or obj.status.conditions == nil then
  hs.status = "Healthy"
  hs.message = "The policy is in force"
  return hs
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "Waiting for the operator to observe generation " .. tostring(obj.metadata.generation)
  return hs
end

local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local ready = found["Ready"] or {}
hs.message = ready.message
if found["Stalled"] ~= nil and found["Stalled"].status == "True" then
  hs.status = "Degraded"
  hs.message = found["Stalled"].message
elseif found["Reconciling"] ~= nil and found["Reconciling"].status == "True" then
  hs.status = "Progressing"
elseif ready.status == "True" then
  hs.status = "Healthy"
elseif ready.status == "False" then
  hs.status = "Degraded"
else
  hs.status = "Progressing"
end
return hs
