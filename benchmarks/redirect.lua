-- What wrk asks for and how it judges the answers.
--
--   wrk ... -s redirect.lua URL -- PATHS MODE FIRST RATE LOOK
--
-- PATHS     a file with one path a line
-- MODE      "random": each request a random one of them; "sequence": one after the other, from FIRST (0-based)
--           on, and again from the start after the last
-- FIRST     where a sequence starts, and what seeds the random order
-- RATE      requests a second, evenly spaced; 0: as many as there can be
-- LOOK      "all": an answer counts as wrong unless it is a 307 whose Location is signed; "signatures": the
--           same, and the different signatures are counted, which costs wrk time: not in a measured run;
--           "none": only wrk itself looks, for statuses of 400 and more

local ffi = require("ffi")
ffi.cdef[[
typedef struct { long seconds; long nanoseconds; } redirect_time;
int clock_gettime(int clock, redirect_time *time);
]]

local time = ffi.new("redirect_time")
local function now()
   ffi.C.clock_gettime(1, time)
   return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   local paths, mode, first, rate, look = args[1], args[2], tonumber(args[3]), tonumber(args[4]), args[5]
   prepared, count = {}, 0
   for path in io.lines(paths) do
      count = count + 1
      prepared[count] = wrk.format("GET", path)
   end
   wrong, late, signatures, asked, what = 0, 0, 0, first, ""
   local random = math.random
   if mode == "random" then
      math.randomseed(first + 1)
      request = function()
         return prepared[random(count)]
      end
   else
      request = function()
         asked = asked + 1
         return prepared[(asked - 1) % count + 1]
      end
   end
   if rate > 0 then
      local slot = nil
      -- How many milliseconds the next request waits: each has its own place in time, whichever connection
      -- sends it, so that a slow answer does not make the requests after it fewer.
      delay = function()
         local moment = now()
         slot = (slot or moment) + 1 / rate
         if slot <= moment then
            if moment - slot > 0.005 then late = late + 1 end
            return 0
         end
         return math.floor((slot - moment) * 1000 + 0.5)
      end
   end
   if look == "none" then
      return
   end
   local seen = {}
   response = function(status, headers, body)
      local location = headers["Location"]
      local at = location and string.find(location, "Signature=", 1, true)
      if status ~= 307 or not at then
         wrong = wrong + 1
         what = tostring(status)
      elseif look == "signatures" then
         local signature = string.match(location, "Signature=([^&]*)")
         if not seen[signature] then
            seen[signature] = true
            signatures = signatures + 1
         end
      end
   end
end

function done(summary, latency, requests)
   local wrong, late, signatures, what = 0, 0, 0, ""
   for _, thread in ipairs(threads) do
      wrong = wrong + thread:get("wrong")
      late = late + thread:get("late")
      signatures = signatures + thread:get("signatures")
      what = thread:get("what")
   end
   local errors = summary.errors
   if errors.status > wrong then
      wrong, what = errors.status, "400 or more"
   end
   io.write(string.format(
      '\n{"requests": %d, "seconds": %.6f, "wrong": %d, "wrong_status": "%s", "late": %d, "signatures": %d, ' ..
      '"bytes": %d, "socket_errors": %d, "p50": %.6f, "p95": %.6f, "p99": %.6f, "max": %.6f}\n',
      summary.requests, summary.duration / 1e6, wrong, what, late, signatures, summary.bytes,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50) / 1e6, latency:percentile(95) / 1e6, latency:percentile(99) / 1e6,
      latency.max / 1e6))
end
