-- Allows sessions at work: Monday to Friday from 8 to 18 o'clock. Some may always. The time is that
-- of the gateway's time zone (TZ).

local opens, closes = 8, 18
local always = { ann = true, bob = true } -- as given by `culvert key add NAME --user USER`

function connect(request)
    if always[request:user()] then
        return true
    end
    local now = os.date("*t")
    local is_weekday = now.wday >= 2 and now.wday <= 6 -- 1 is Sunday
    if is_weekday and now.hour >= opens and now.hour < closes then
        return true
    end
    return false, ("sessions are possible from Monday to Friday, %d to %d o'clock"):format(opens, closes)
end
