-- Allows what a table says: which keys (the KEY in LPORT:KEY@AGENT:HOST:PORT) open which services.
-- "*" stands for any agent or host; a key may stand in several lines.

local grants = {
    { key = "maintenance", agent = "*", host = "*", ports = { 22 } },
    { key = "reports", agent = "office", host = "10.0.0.7", ports = { 5432, 5433 } },
    { key = "wiki", agent = "office", host = "wiki.intranet", ports = { 80, 443 } },
}

local function fits(pattern, value)
    return pattern == "*" or pattern == value
end

local function contains(list, value)
    for _, one in ipairs(list) do
        if one == value then
            return true
        end
    end
    return false
end

function connect(request)
    for _, grant in ipairs(grants) do
        if grant.key == request:key() and fits(grant.agent, request:gatename())
            and fits(grant.host, request:ip()) and contains(grant.ports, request:port()) then
            return true
        end
    end
    return false, "no grant for this key"
end
