-- A request by annotation: the operator answers in .status.lastRequest and removes the annotation.
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["agui.dev/pause"] = "true"
return obj
