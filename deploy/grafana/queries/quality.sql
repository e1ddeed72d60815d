-- What the dashboard *Data quality* asks, of several sources and symbols at once. Grafana puts in the variables and the
-- macros before the database sees a statement. Bookkeeping is small; only `suspect` and `fresh` touch data tables.

-- name: sources
-- Variable: every source that has ever been recorded.
select distinct source from streams order by source;

-- name: symbols
-- Variable: every symbol of the sources.
select distinct symbol from streams where source in (${source:sqlstring}) order by symbol;

-- name: coverage
-- How much of the range every stream covers, worst first. Holes that overlap count once, refilled ones not at all.
with wanted as (
    select
        s.source, s.channel, s.symbol,
        greatest(coalesce(s.first_time, '-infinity'), $__timeFrom()::timestamptz) as since,
        least(now(), $__timeTo()::timestamptz) as until
    from streams s
    where s.source in (${source:sqlstring}) and s.symbol in (${symbol:sqlstring})
), holes as (
    select
        w.source, w.channel, w.symbol, count(*) as gaps, count(*) filter (where g.to_time is null) as open,
        sum(g.missing) as missing,
        range_agg(tstzrange(greatest(g.from_time, w.since), least(coalesce(g.to_time, now()), w.until))) as spans
    from wanted w
    join gaps g using (source, channel, symbol)
    where g.state <> 'refilled' and g.from_time <= w.until and coalesce(g.to_time, now()) >= w.since
    group by 1, 2, 3
)
select
    w.source, w.channel, w.symbol,
    1 - coalesce(h.seconds, 0) / extract(epoch from w.until - w.since) as coverage,
    coalesce(h.seconds, 0) as seconds, coalesce(h.gaps, 0) as gaps, coalesce(h.open, 0) as open, h.missing
from wanted w
left join (
    select
        o.source, o.channel, o.symbol, o.gaps, o.open, o.missing,
        (select sum(extract(epoch from upper(r) - lower(r))) from unnest(o.spans) r) as seconds
    from holes o
) h using (source, channel, symbol)
where w.since < w.until
order by coverage, gaps desc, source, channel, symbol
limit 500;

-- name: verdict
-- The holes of the range in one row, those that were refilled left out.
select
    count(*) filter (where g.to_time is null) as "still open",
    count(*) as "gaps",
    coalesce(sum(extract(epoch from least(coalesce(g.to_time, now()), $__timeTo()::timestamptz)
        - greatest(g.from_time, $__timeFrom()::timestamptz))), 0) as "time in gaps",
    coalesce(sum(g.missing), 0) as "messages missing"
from gaps g
where g.source in (${source:sqlstring}) and g.symbol in (${symbol:sqlstring}) and g.state <> 'refilled'
  and g.from_time <= $__timeTo()::timestamptz and coalesce(g.to_time, now()) >= $__timeFrom()::timestamptz;

-- name: served
-- What is asked for and does not come, as it is now, and what could not be decoded in the range.
select
    count(*) filter (where l.outcome = 'silent') as "silent",
    count(*) filter (where l.outcome = 'rejected') as "rejected",
    count(*) filter (where l.outcome = 'pending') as "unanswered",
    (
        select count(*) from quarantine q
        where q.source in (${source:sqlstring}) and $__timeFilter(q.received_at)
    ) as "quarantined"
from (
    select distinct on (s.source, s.channel, s.symbol) s.outcome
    from subscriptions s
    where s.source in (${source:sqlstring}) and s.symbol in (${symbol:sqlstring})
    order by s.source, s.channel, s.symbol, s.from_time desc
) l;

-- name: seconds_per_day
-- Seconds inside holes by UTC day and cause; a hole over midnight counts for both days. Streams are added up.
select
    d.day as "time", g.cause as metric,
    sum(extract(epoch from least(coalesce(g.to_time, now()), d.day + interval '24 hours', $__timeTo()::timestamptz)
        - greatest(g.from_time, d.day, $__timeFrom()::timestamptz))) as seconds
from gaps g
cross join lateral generate_series(
    date_bin('24 hours', greatest(g.from_time, $__timeFrom()::timestamptz), timestamptz '2000-01-01 00:00:00+00'),
    least(coalesce(g.to_time, now()), $__timeTo()::timestamptz), interval '24 hours'
) d (day)
where g.source in (${source:sqlstring}) and g.symbol in (${symbol:sqlstring}) and g.state <> 'refilled'
  and g.from_time <= $__timeTo()::timestamptz and coalesce(g.to_time, now()) >= $__timeFrom()::timestamptz
group by 1, 2
order by 1, 2;

-- name: causes
-- How many holes began, by cause.
select $__timeGroupAlias(g.from_time, $__interval), g.cause as metric, count(*) as gaps
from gaps g
where g.source in (${source:sqlstring}) and g.symbol in (${symbol:sqlstring}) and $__timeFilter(g.from_time)
group by 1, 2
order by 1, 2;

-- name: gaps
-- Every hole that touches the range, newest first.
select
    g.from_time, g.to_time, extract(epoch from coalesce(g.to_time, now()) - g.from_time) as seconds,
    g.source, g.channel, g.symbol, g.cause, g.missing, g.state, g.refilled_rows
from gaps g
where g.source in (${source:sqlstring}) and g.symbol in (${symbol:sqlstring})
  and g.from_time <= $__timeTo()::timestamptz and coalesce(g.to_time, now()) >= $__timeFrom()::timestamptz
order by g.from_time desc, g.id desc
limit 500;

-- name: unserved
-- Streams that are asked for and not served, as it is now: the last word on each.
select l.source, l.channel, l.symbol, l.outcome, l.from_time, l.feed
from (
    select distinct on (s.source, s.channel, s.symbol) s.*
    from subscriptions s
    where s.source in (${source:sqlstring}) and s.symbol in (${symbol:sqlstring})
    order by s.source, s.channel, s.symbol, s.from_time desc
) l
where l.outcome in ('silent', 'rejected', 'pending')
order by l.from_time desc, l.source, l.channel, l.symbol
limit 500;

-- name: connections
-- Every connection that stood in the range, newest first.
select
    c.feed, c.opened_at, c.closed_at, extract(epoch from coalesce(c.closed_at, now()) - c.opened_at) as seconds,
    c.reason, c.code, c.frames, c.rtt_ms, c.endpoint
from connections c
where split_part(c.feed, '/', 1) in (${source:sqlstring})
  and c.opened_at <= $__timeTo()::timestamptz and coalesce(c.closed_at, now()) >= $__timeFrom()::timestamptz
order by c.opened_at desc, c.feed
limit 300;

-- name: endings
-- How many connections ended, by reason.
select $__timeGroupAlias(c.closed_at, $__interval), c.reason as metric, count(*) as connections
from connections c
where split_part(c.feed, '/', 1) in (${source:sqlstring}) and $__timeFilter(c.closed_at)
group by 1, 2
order by 1, 2;

-- name: events
-- What the venues said about themselves, newest first.
select e.time, e.source, e.feed, e.code, e.action, e.message
from venue_events e
where e.source in (${source:sqlstring}) and $__timeFilter(e.time)
order by e.time desc, e.source, e.feed
limit 300;

-- name: quarantine
-- Frames that could not be stored as rows, newest first, and how they begin.
select
    q.received_at, q.source, q.feed, q.frame, q.reason, octet_length(q.raw) as bytes,
    left(encode(substring(q.raw for 200), 'escape'), 200) as "begins"
from quarantine q
where q.source in (${source:sqlstring}) and $__timeFilter(q.received_at)
order by q.received_at desc, q.source, q.feed
limit 300;

-- name: fresh
-- Age of the last record of every stream of trades, quotes and tickers, as it is now, stalest first.
select
    l.source, l.channel, l.symbol, l.record, l.time, extract(epoch from now() - l.received_at) as age
from latest l
where l.source in (${source:sqlstring}) and l.symbol in (${symbol:sqlstring})
order by l.received_at, l.source, l.channel, l.symbol
limit 500;

-- name: suspect
-- Rows of books whose chain was broken, in the last hour of the range: the whole of it would read too much.
select
    $__timeGroupAlias(b.time, $__interval), b.source || ' ' || b.channel || ' ' || b.symbol as metric,
    count(*) as "rows"
from books b
where b.symbol in (${symbol:sqlstring}) and b.source in (${source:sqlstring}) and $__timeFilter(b.time)
  and b.time >= $__timeTo()::timestamptz - interval '1 hour' and b.integrity = 'suspect'
group by 1, 2
order by 1, 2;

-- name: gaps_marked
-- Annotation: holes.
select
    g.from_time as "time", coalesce(g.to_time, now()) as timeend,
    g.source || ' ' || g.channel || ' ' || g.symbol || ': ' || g.cause
        || coalesce(', ' || g.missing || ' missing', '') as "text",
    g.cause as tags
from gaps g
where g.source in (${source:sqlstring}) and g.symbol in (${symbol:sqlstring})
  and g.from_time <= $__timeTo()::timestamptz and coalesce(g.to_time, now()) >= $__timeFrom()::timestamptz
order by g.from_time desc, g.id desc
limit 200;

-- name: reconnects_marked
-- Annotation: connections that ended unplanned.
select c.closed_at as "time", c.feed || ': ' || c.reason || coalesce(' ' || c.code, '') as "text", c.reason as tags
from connections c
where split_part(c.feed, '/', 1) in (${source:sqlstring}) and $__timeFilter(c.closed_at)
  and c.reason not in ('handover', 'line', 'config', 'shutdown')
order by c.closed_at desc, c.feed
limit 200;

-- name: gaps_of_sources
-- Annotation: holes of whole sources, for a dashboard that knows no symbols: those of one moment are one mark.
select
    g.from_time as "time", max(coalesce(g.to_time, now())) as timeend,
    g.source || ': ' || g.cause || ', ' || count(*) || case count(*) when 1 then ' stream' else ' streams' end as "text",
    g.cause as tags
from gaps g
where g.source in (${source:sqlstring})
  and g.from_time <= $__timeTo()::timestamptz and coalesce(g.to_time, now()) >= $__timeFrom()::timestamptz
group by g.from_time, g.source, g.cause
order by g.from_time desc, g.source, g.cause
limit 200;
