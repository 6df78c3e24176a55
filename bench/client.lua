-- What wrk sends: wrk ... -s client.lua URL -- MODE FILE SKIP
--   verify   GET /auth/verify with the tokens in FILE in turn
--   login    POST /auth/login, or signup, with the bodies in FILE in turn
--   stay     POST /auth/refresh with the refresh tokens in FILE in turn, again and again
--   rotate   the same, but each goes on with the token that it was answered; in the end FILE has those not used yet
--   fixed    GET the URL as it is
-- The first SKIP lines are left out, but not by rotate. Prints one line of JSON when done: counts, and how many requests
-- took how many microseconds (with those that wrk adds for who would have asked while an answer was late).

local mode, lines, at, last = "fixed", {}, 0, 0
local json = { ["Content-Type"] = "application/json" }

function init(args)
    mode = args[1]
    if args[2] then
        for line in io.lines(args[2]) do
            last = last + 1
            lines[last] = line
        end
    end
    at = tonumber(args[3]) or 0
end

local function next_line()
    at = at % last + 1
    return lines[at]
end

function request()
    if mode == "fixed" then return wrk.format() end
    if mode == "verify" then
        return wrk.format("GET", "/auth/verify", { ["Authorization"] = "Bearer " .. next_line() })
    end
    if mode == "login" then return wrk.format("POST", "/auth/login", json, next_line()) end
    if mode == "signup" then return wrk.format("POST", "/auth/signup", json, next_line()) end
    return wrk.format("POST", "/auth/refresh", json, '{"refreshToken":"' .. next_line() .. '"}')
end

-- A function that takes answers costs wrk time, so only the mode that needs them has one.
if os.getenv("BENCH_MODE") == "rotate" then
    local only_thread
    function setup(thread)
        only_thread = thread
    end
    local read = init
    function init(args)
        read(args)
        at, file, unused = 0, args[2], lines -- the last two are global, where done finds them
    end
    -- Each answer brings the next token of its session; whose it was does not matter, there is one request a token.
    function request()
        at = at + 1
        local token = lines[at]
        lines[at] = nil
        return wrk.format("POST", "/auth/refresh", json, '{"refreshToken":"' .. (token or "none left") .. '"}')
    end
    function response(status, headers, body)
        local token = body:match('"refreshToken":"([^"]+)"')
        if token then
            last = last + 1
            lines[last] = token
        end
    end
    function keep()
        local places, left = {}, only_thread:get("unused")
        for place in pairs(left) do table.insert(places, place) end
        table.sort(places)
        local out = assert(io.open(only_thread:get("file"), "w"))
        for _, place in ipairs(places) do out:write(left[place], "\n") end
        out:close()
    end
end

function done(summary, latency, requests)
    if keep then keep() end
    local errors, times = summary.errors, {}
    for place = 1, #latency do
        times[place] = string.format("[%d,%d]", latency(place))
    end
    io.write(string.format(
        '{"requests":%d,"microseconds":%d,"refused":%d,"broken":%d,"times":[%s]}\n',
        summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
        table.concat(times, ",")))
end
