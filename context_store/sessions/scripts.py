"""
The scripts by which sessions in Redis change: each is atomic, and all its keys are in one slot of Redis Cluster.

A session is three keys. ``info`` is a hash:

- ``user_id``, ``created_at``, ``updated_at``; ``metadata``, a JSON text, and ``metadata_version``, new with each change
- ``base``, ``first``, ``next``: messages are numbered, and these are the numbers of the first one that is stored, of
  the first one that is shown, and of the one to come
- ``epoch``: new with each ``save``, after which the numbers begin anew
- ``writer``, ``writer_until``: who is appending in pieces, and until when (milliseconds) others wait for it

``messages`` is a list of JSON texts, ``ids`` a sorted set of the messages' ids by number.

Redis does nothing else while a script runs, so none does more than a bounded piece of work, whatever is stored:

    numbers   base ........ first .................. next ........
    messages  [ old: dropped | shown                 | hidden ]
                by the next     what everybody reads   pushed by an append in pieces; its last piece
                appends                                moves `next` and so shows all of them at once

What ``save`` and ``fork`` write in pieces is staged under keys of its own, which take the place of ``messages`` and
``ids`` by RENAME. A user's index is two sorted sets of session ids: ``updates`` by the time of the last write,
``expiries`` by the time at which the session will be gone.

Of ARGV the first is a JSON object, ``given``: numbers are text in it, since Lua would round and reformat them. What may
be large follows as it is.
"""

# Messages, index entries or texts that one script handles, and bytes of texts that it returns or takes, at most.
# An append of 1,200 messages to a session of 2, with first = base = 0:
#
#                                                   next    list    shown
#     before                                        2       2       2
#     APPEND pushed=0, 500 messages                 2       502     2       writer = token
#     APPEND pushed=500, 500 messages               2       1002    2
#     APPEND pushed=1000, last=1, 200 messages      1202    1202    1202    no writer
#
# A writer that dies leaves what is hidden behind ``next``. Once its time is over, the next append finds pushed = 0 with
# hidden messages, drops a piece of them, and answers ``again`` until none is left.
PIECE = 500
PIECE_BYTES = 1024 * 1024
# Milliseconds that an append in pieces may take between two pieces before others go on without it.
WRITER_MILLISECONDS = 10_000
# Milliseconds after which what a dead process staged is gone.
STAGED_MILLISECONDS = 600_000

# KEYS: info, messages, ids. Given: user (whose sessions are visible, or ""), ttl (milliseconds to live, or "").
SESSION = (
    f"""
local PIECE, PIECE_BYTES = {PIECE}, {PIECE_BYTES}
local WRITER_MILLISECONDS, STAGED_MILLISECONDS = {WRITER_MILLISECONDS}, {STAGED_MILLISECONDS}
"""
    + """
local info, messages, ids = KEYS[1], KEYS[2], KEYS[3]
local given = cjson.decode(ARGV[1])
local owner = redis.call('HGET', info, 'user_id')
local visible = owner and (given.user == '' or owner == given.user)
local function text(field) return redis.call('HGET', info, field) end
local function number(field) return tonumber(text(field) or 0) end
local function whole(n) return string.format('%.0f', n) end
local function described()
  return {owner, text('created_at'), text('updated_at'), whole(number('next') - number('first'))}
end
local function hidden() return redis.call('LLEN', messages) - (number('next') - number('base')) end
local function slide()
  for index = 1, 3 do
    if given.ttl == '' then redis.call('PERSIST', KEYS[index]) else redis.call('PEXPIRE', KEYS[index], given.ttl) end
  end
end
local function write()
  if not owner then
    owner = given.owner
    redis.call('HSET', info, 'user_id', owner, 'created_at', given.now, 'metadata_version', given.token)
  end
  -- A clock that goes back takes no time back.
  if number('updated_at') < tonumber(given.now) then redis.call('HSET', info, 'updated_at', given.now) end
  slide()
end
local function begin_anew()
  -- The first command is one that a Redis without memory refuses: afterwards a script goes on to its end.
  redis.call('HSET', info, 'base', 0, 'first', 0, 'next', 0, 'epoch', given.token)
  redis.call('HDEL', info, 'writer', 'writer_until')
  redis.call('UNLINK', messages, ids)
end
local function push(place, from)
  for index = from, #ARGV, 2 do
    redis.call('RPUSH', messages, ARGV[index + 1])
    redis.call('ZADD', ids, whole(place), ARGV[index])
    place = place + 1
  end
  return place
end
local function drop_old()
  local base = number('base')
  local dropped = math.min(number('first') - base, PIECE)
  if dropped > 0 then
    redis.call('LTRIM', messages, whole(dropped), -1)
    redis.call('ZREMRANGEBYSCORE', ids, '-inf', '(' .. whole(base + dropped))
    redis.call('HSET', info, 'base', whole(base + dropped))
  end
  return whole(number('first') - number('base'))
end
"""
)

# Given: recent (how many messages from the end, or "" for all), before (the id of the message that the end lies above)
# with shown (how many of the session's messages are, or "" for all); or epoch, start and stop (their numbers) for what
# follows a first page; slide ("1" to begin the time to live anew), with_metadata. Returns as many messages as a page
# has.
READ = (
    SESSION
    + """
if not visible then return {'missing'} end
if hidden() < 0 then return {'lost'} end
local base, start, stop = number('base'), number('first'), number('next')
if given.epoch then
  if given.epoch ~= text('epoch') or tonumber(given.start) < base then return {'missing'} end
  start, stop = tonumber(given.start), tonumber(given.stop)
else
  if given.before then
    if given.shown ~= '' then start = math.max(start, stop - tonumber(given.shown)) end
    local place = tonumber(redis.call('ZSCORE', ids, given.before) or -1)
    if place < start or place >= stop then return {'unknown'} end
    stop = place
  end
  if given.recent ~= '' then start = math.max(start, stop - tonumber(given.recent)) end
end
if given.slide then slide() end
local texts, bytes = {}, 0
while start + #texts < stop and #texts < PIECE and bytes < PIECE_BYTES do
  local place = start + #texts - base
  -- A few at a time: each may be as large as a page.
  local found = redis.call('LRANGE', messages, whole(place), whole(math.min(place + 16, stop - base) - 1))
  for _, message in ipairs(found) do
    texts[#texts + 1] = message
    bytes = bytes + #message
  end
end
local metadata = given.with_metadata and text('metadata') or ''
return {'ok', described(), metadata, text('metadata_version'), {text('epoch'), whole(start), whole(stop)}, texts}
"""
)
# KEYS: and those that are staged. Given: now, owner (of a new session), token; create ("1" for a session that is not to
# exist), with_metadata, staged (how many messages lie there). Then its metadata, id and text of each message that is
# not staged.
SAVE = (
    SESSION
    + """
if given.create and owner then return {'taken'} end
if owner and not visible then return {'owner'} end
if given.staged and redis.call('LLEN', KEYS[4]) ~= tonumber(given.staged) then return {'lost'} end
begin_anew()
if given.staged then
  redis.call('RENAME', KEYS[4], messages)
  redis.call('RENAME', KEYS[5], ids)
  redis.call('HSET', info, 'next', given.staged)
else
  redis.call('HSET', info, 'next', whole(push(0, given.with_metadata and 3 or 2)))
end
if given.with_metadata then redis.call('HSET', info, 'metadata', ARGV[2]) end
write()
return {'ok', described()}
"""
)
# Given: now, owner, token; limit (most messages, or ""), after (an id that has to be there, or ""), pushed (how many
# this call has pushed and not shown), last ("1" for the last piece). Then id and text of each message. Known ids keep
# the piece from being written, and are answered: the index of each and its number.
APPEND = (
    SESSION
    + """
if owner and not visible then return {'owner'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local writer = text('writer')
if writer and writer ~= given.token and number('writer_until') > now then return {'busy'} end
-- What a writer left that died before there was a session counts for nothing.
local is_new = not owner and writer ~= given.token
local first, next, out_of_sight = 0, 0, 0
if not is_new then
  first, next, out_of_sight = number('first'), number('next'), hidden()
  if out_of_sight < 0 then return {'lost'} end
end
if given.pushed ~= '0' and (writer ~= given.token or given.pushed ~= whole(out_of_sight)) then return {'changed'} end
if given.pushed == '0' and out_of_sight > 0 then
  -- Of a writer that died, or went no further.
  local dropped = math.min(out_of_sight, PIECE)
  redis.call('LTRIM', messages, 0, whole(-dropped - 1))
  redis.call('ZREMRANGEBYSCORE', ids, whole(next + out_of_sight - dropped), '+inf')
  return {'again'}
end
local function place_of(id)
  local place = tonumber(redis.call('ZSCORE', ids, id) or -1)
  return place >= first and place < next and place
end
if given.after ~= '' and not place_of(given.after) then return {'changed'} end
local known = {}
for index = 2, #ARGV, 2 do
  local place = place_of(ARGV[index])
  if place then
    known[#known + 1] = whole(index / 2 - 1)
    known[#known + 1] = whole(place)
  end
end
if #known > 0 then return {'known', text('epoch'), known} end
if is_new then begin_anew() end
local place = push(next + out_of_sight, 2)
if not given.last then
  redis.call('HSET', info, 'writer', given.token, 'writer_until', whole(now + WRITER_MILLISECONDS))
  if owner then slide()
  else
    for index = 1, 3 do redis.call('PEXPIRE', KEYS[index], STAGED_MILLISECONDS) end
  end
  return {'ok'}
end
redis.call('HSET', info, 'next', whole(place))
redis.call('HDEL', info, 'writer', 'writer_until')
if given.limit ~= '' and place - first > tonumber(given.limit) then
  redis.call('HSET', info, 'first', whole(place - tonumber(given.limit)))
end
local old = drop_old()
write()
return {'ok', described(), old}
"""
)
# Given: token of an append that goes no further. Lets the next one drop what it has pushed.
ABANDON = SESSION + "if text('writer') == given.token then redis.call('HDEL', info, 'writer_until') end"
# Drops what is shown no more and returns how much is left of it.
DROP = SESSION + "return drop_old()"
# Given: now, owner, token; version (of the metadata that was read, or "" without a session). Then the new metadata.
MERGE = (
    SESSION
    + """
if owner and not visible then return {'owner'} end
if (owner and text('metadata_version') or '') ~= given.version then return {'changed'} end
if not owner then begin_anew() end
write()
redis.call('HSET', info, 'metadata', ARGV[2], 'metadata_version', given.token)
return {'ok', described()}
"""
)
DELETE = (
    SESSION
    + """
if not visible then return {'missing'} end
redis.call('UNLINK', info, messages, ids)
return {'ok', {owner}}
"""
)

# KEYS: updates, expiries. Takes out what has expired, a piece at a time, and lets both keys go with their last session.
# Of a user with two sessions that live for a day; s1 was written first, and loaded last:
#
#     {u:ada}:updates     s1 1700000000000   s2 1700000005000      the order of the list
#     {u:ada}:expiries    s1 1700086409000   s2 1700086405000      what is gone by when
INDEX = (
    f"local PIECE = {PIECE}"
    + """
local updates, expiries = KEYS[1], KEYS[2]
local given = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = redis.call('ZRANGEBYSCORE', expiries, '-inf', string.format('%.0f', now), 'LIMIT', 0, PIECE)
if #gone > 0 then
  redis.call('ZREM', expiries, unpack(gone))
  redis.call('ZREM', updates, unpack(gone))
end
local function expire()
  local last = redis.call('ZRANGE', expiries, -1, -1, 'WITHSCORES')
  for _, key in ipairs(KEYS) do
    if last[2] == 'inf' then redis.call('PERSIST', key)
    elseif last[2] then redis.call('PEXPIREAT', key, string.format('%.0f', tonumber(last[2]))) end
  end
end
"""
)
# Given: id, updated_at (of the session), ttl (milliseconds to live, or "").
ENTER = (
    INDEX
    + """
redis.call('ZADD', updates, 'GT', given.updated_at, given.id)
redis.call('ZADD', expiries, given.ttl == '' and '+inf' or string.format('%.0f', now + given.ttl), given.id)
expire()
"""
)
# More ARGV: at most a piece of session ids that are to be taken out.
LEAVE = (
    INDEX
    + """
for index = 2, #ARGV do
  redis.call('ZREM', updates, ARGV[index])
  redis.call('ZREM', expiries, ARGV[index])
end
expire()
"""
)
# Given: start and stop, the places of at most a piece of ids, the one written last first. While anything expires,
# nothing is returned.
NEWEST = (
    INDEX
    + """
if #gone > 0 then return false end
return redis.call('ZREVRANGE', updates, given.start, given.stop)
"""
)
SCRIPTS = {
    "READ": READ, "SAVE": SAVE, "APPEND": APPEND, "ABANDON": ABANDON, "DROP": DROP, "MERGE": MERGE, "DELETE": DELETE,
    "ENTER": ENTER, "LEAVE": LEAVE, "NEWEST": NEWEST,
}  # fmt: skip
