-- A request by annotation: the operator answers in .status.lastRequest and removes the annotation. Without a parameter
-- the release before the stable one is restored.
local release = "previous"
if actionParams ~= nil and actionParams["release"] ~= nil and actionParams["release"] ~= "" then
  release = actionParams["release"]
end
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["agui.dev/undo"] = release
return obj
