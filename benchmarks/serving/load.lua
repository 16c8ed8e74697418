-- Script for wrk: repeats requests and prints the results as one line of JSON.
-- Arguments: folder, number of requests. REQUEST_PACE: "steady MS", "bursty MS", or unset.
-- REQUEST_VARIED=1: each request has its own X-Request-Id and User-Agent.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } clock_time;
  int clock_gettime(int clock, clock_time *time);
]]

local requests, number, sent = {}, 0, 0
local varied = os.getenv("REQUEST_VARIED") == "1"

local function milliseconds()
  local time = ffi.new("clock_time")
  ffi.C.clock_gettime(0, time)
  return tonumber(time.seconds) * 1000 + tonumber(time.nanoseconds) / 1e6
end

local pace, period = string.match(os.getenv("REQUEST_PACE") or "", "(%a+) (%d+)")
period = tonumber(period)
if pace == "steady" then
  -- Each connection sends about one request per period, at a random time.
  function delay() return math.floor(period * (0.5 + math.random())) end
elseif pace == "bursty" then
  -- All connections send a request when a period begins.
  function delay() return math.floor(period - milliseconds() % period) + 1 end
end

local function format(request)
  return wrk.format("POST", request.path, request.headers, request.body)
end

function init(arguments)
  math.randomseed(milliseconds() * 1000 % 2 ^ 31)
  for index = 1, tonumber(arguments[2]) do
    local file = assert(io.open(arguments[1] .. "/" .. index, "rb"))
    local request = { path = file:read("*l"), headers = {} }
    for line in function() return file:read("*l") end do
      if line == "" then break end
      local name, value = string.match(line, "^(.-): (.*)$")
      request.headers[name] = value
    end
    request.body = file:read("*a")
    file:close()
    requests[index] = varied and request or format(request)
  end
end

function request()
  number = number % #requests + 1
  local request = requests[number]
  if not varied then return request end
  sent = sent + 1
  request.headers["X-Request-Id"] = string.format("%08x-%08x", math.random(0, 2 ^ 31 - 1), sent)
  request.headers["User-Agent"] = "benchmark/" .. sent
  return format(request)
end

function done(summary, latency, _)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"seconds":%.6f,"status_errors":%d,"socket_errors":%d,"timeouts":%d,' ..
    '"p50_ms":%.3f,"p90_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write, errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3))
end
