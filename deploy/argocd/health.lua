-- Health of VMAnomaly, AnomalyModel and AnomalyQuery objects for Argo CD.
local function health(status, message)
  return {status = status, message = message or ""}
end

local status = obj.status
if status == nil or status.conditions == nil then
  return health("Progressing", "The operator has not looked at it yet")
end

local generation = obj.metadata.generation
if status.observedGeneration == nil or (generation ~= nil and status.observedGeneration < generation) then
  return health("Progressing", "The operator has not looked at the newest version yet")
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end

local function is(kind, value)
  return conditions[kind] ~= nil and conditions[kind].status == value
end

local ready = conditions["Ready"]
if ready == nil then
  return health("Progressing", "The operator has not said yet whether it is ready")
end
local message = ready.message
if message == nil or message == "" then
  message = ready.reason
end

if obj.kind == "VMAnomaly" then
  if is("Stalled", "True") then
    return health("Degraded", conditions["Stalled"].message)
  end
  if is("ConfigValid", "False") then
    return health("Degraded", conditions["ConfigValid"].message)
  end
  if ready.reason == "Paused" then
    return health("Suspended", message)
  end
  if ready.status == "True" then
    return health("Healthy", message)
  end
  if is("Degraded", "True") then
    return health("Degraded", conditions["Degraded"].message)
  end
  return health("Progressing", message)
end

-- A model or query that nobody selects is ready, too: there is nothing wrong with it.
if ready.status == "True" then
  return health("Healthy", message)
end
if ready.status == "False" then
  return health("Degraded", message)
end
return health("Progressing", message)
