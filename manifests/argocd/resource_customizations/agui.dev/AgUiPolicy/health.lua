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

hs.status = "Progressing"
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Stalled" and condition.status == "True" then
    hs.status = "Degraded"
    hs.message = condition.message
    return hs
  end
  if condition.type == "Ready" then
    hs.message = condition.message
    if condition.status == "True" then
      hs.status = "Healthy"
    elseif condition.status == "False" then
      hs.status = "Degraded"
    end
  end
end
return hs
