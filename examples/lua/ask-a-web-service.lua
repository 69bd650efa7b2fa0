-- Asks a web service before each session. It gets a POST with the request as JSON and answers with
-- {"allow": true}, or {"allow": false, "reason": "..."}. If it cannot be asked, nothing is allowed.

local http = require("http")
local json = require("json")

local service = "http://127.0.0.1:8000/may"

function connect(request)
    local response, problem = http.post(service, {
        timeout = "2s",
        headers = { ["Content-Type"] = "application/json" },
        body = json.encode({
            source = request:source(),
            user = request:user(),
            agent = request:gatename(),
            host = request:ip(),
            port = request:port(),
            key = request:key(),
        }),
    })
    if not response then
        print("the service cannot be asked: " .. problem)
        return false, "nobody can be asked about this session"
    end
    local answer = json.decode(response.body)
    if response.status_code ~= 200 or type(answer) ~= "table" then
        print("the service answered with " .. response.status_code)
        return false, "nobody can be asked about this session"
    end
    return answer.allow == true, answer.reason
end
