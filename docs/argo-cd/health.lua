-- Health of an ImCluster for Argo CD: the value of `resource.customizations.health.imcluster.io_ImCluster` in the ConfigMap argocd-cm.
local health = {status = "Progressing", message = "The operator has not looked at this generation yet"}
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return health
end
local found = {}
for _, condition in ipairs(status.conditions or {}) do
  found[condition.type] = condition
end
local function holds(kind)
  return found[kind] ~= nil and found[kind].status == "True"
end
if holds("Stalled") then
  health.status = "Degraded"
  health.message = found["Stalled"].message
elseif holds("Paused") then
  health.status = "Suspended"
  health.message = found["Paused"].message
elseif holds("Reconciling") then
  health.message = found["Reconciling"].message
elseif holds("Ready") then
  health.status = "Healthy"
  health.message = found["Ready"].message
elseif found["Ready"] ~= nil then
  health.status = "Degraded"
  health.message = found["Ready"].message
end
return health
