-- Requests for wrk, with the headers that instrumented clients send. Each has a trace id of its own, put together from two
-- halves: formatting one from nothing would cost the client more than sending it. One trace in ten is sampled.

local HALVES = 4096
local TENANTS = { "acme", "globex", "initech", "umbrella" }

local first, second = {}, {}
local sent = 0

local function hex(digits)
  local text = {}
  for at = 1, digits / 4 do
    text[at] = string.format("%04x", math.random(0, 0xffff))
  end
  return table.concat(text)
end

function init(arguments)
  math.randomseed(tonumber(arguments[1]))
  for at = 1, HALVES do
    first[at] = "GET /orders/1001 HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nUser-Agent: wrk\r\n"
      .. "x-tenant-id: " .. TENANTS[math.random(#TENANTS)] .. "\r\ntraceparent: 00-" .. hex(16)
    second[at] = hex(16) .. "-" .. hex(16) .. (math.random(10) == 1 and "-01" or "-00") .. "\r\n\r\n"
  end
end

function request()
  local at = sent
  sent = sent + 1
  return first[at % HALVES + 1] .. second[math.floor(at / HALVES) % HALVES + 1]
end

function done(summary)
  local errors = summary.errors
  io.write(string.format("counted %d %d %d\n", summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
