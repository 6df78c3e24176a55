-- Asks mstack-auth whose token a request has, and names the user to the app. haproxy.cfg lets a request pass only after a 200.

local VERIFY = "http://127.0.0.1:5000/auth/verify"  -- CHANGE: the service
local TIMEOUT = 500  -- milliseconds; HAProxy tries four times
local IDENTITY = { "remote-user", "x-auth-user-id", "x-auth-session" }

core.register_action("verify", { "http-req" }, function(txn)
    local sent = txn.http:req_get_headers()["authorization"] or {}
    local asked = { authorization = { sent[0] } }
    if sent[1] then  -- two of them are no token
        asked = {}
    end
    local answer = core.httpclient():get { url = VERIFY, headers = asked, timeout = TIMEOUT }
    if answer.status == 200 then
        for _, name in ipairs(IDENTITY) do
            txn.http:req_set_header(name, answer.headers[name][0])
        end
    elseif answer.status == 401 then
        txn:set_var("txn.verify_challenge", answer.headers["www-authenticate"][0])
    end
    txn:set_var("txn.verify_status", answer.status)
end)
