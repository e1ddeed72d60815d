-- What the recorder stores: one table per kind of record, the same five columns first, numbers exactly as sent.
-- Column order is that of recorder/records.py; a test compares the two.
-- No unique index but on candles: two equal trades in one millisecond are two trades, and some venues send no id.

create table schema_migrations (
    number     int primary key,
    name       text not null,
    applied_at timestamptz not null default now()
);

create table trades (
    time        timestamptz not null,
    received_at timestamptz not null,
    source      text not null,
    channel     text not null,
    symbol      text not null,
    price       numeric,
    size        numeric,
    side        text,
    trade_id    text,
    count       int,
    seq         bigint,
    turnover    numeric,
    origin      text
);

create table quotes (
    time        timestamptz not null,
    received_at timestamptz not null,
    source      text not null,
    channel     text not null,
    symbol      text not null,
    bid_price   numeric,
    bid_size    numeric,
    ask_price   numeric,
    ask_size    numeric,
    seq         bigint
);

create table tickers (
    time          timestamptz not null,
    received_at   timestamptz not null,
    source        text not null,
    channel       text not null,
    symbol        text not null,
    last_price    numeric,
    last_size     numeric,
    bid_price     numeric,
    bid_size      numeric,
    ask_price     numeric,
    ask_size      numeric,
    open_24h      numeric,
    high_24h      numeric,
    low_24h       numeric,
    volume_24h    numeric,
    turnover_24h  numeric,
    open_interest numeric
);

create table books (
    time        timestamptz not null,
    received_at timestamptz not null,
    source      text not null,
    channel     text not null,
    symbol      text not null,
    kind        text,
    seq         bigint,
    prev_seq    bigint,
    bids        numeric[][],
    asks        numeric[][],
    integrity   text,
    origin      text
);

create table candles (
    time        timestamptz not null,
    received_at timestamptz not null,
    source      text not null,
    channel     text not null,
    symbol      text not null,
    interval    text not null,
    open        numeric,
    high        numeric,
    low         numeric,
    close       numeric,
    volume      numeric,
    turnover    numeric,
    closed      boolean,
    origin      text
);

create table funding_rates (
    time              timestamptz not null,
    received_at       timestamptz not null,
    source            text not null,
    channel           text not null,
    symbol            text not null,
    rate              numeric,
    next_rate         numeric,
    funding_time      timestamptz,
    next_funding_time timestamptz
);

create table open_interest (
    time        timestamptz not null,
    received_at timestamptz not null,
    source      text not null,
    channel     text not null,
    symbol      text not null,
    contracts   numeric,
    amount      numeric,
    value_usd   numeric
);

create table reference_prices (
    time        timestamptz not null,
    received_at timestamptz not null,
    source      text not null,
    channel     text not null,
    symbol      text not null,
    kind        text,
    price       numeric
);

create table liquidations (
    time          timestamptz not null,
    received_at   timestamptz not null,
    source        text not null,
    channel       text not null,
    symbol        text not null,
    side          text,
    position_side text,
    price         numeric,
    size          numeric
);

create table messages (
    time        timestamptz not null,
    received_at timestamptz not null,
    source      text not null,
    channel     text not null,
    symbol      text not null,
    payload     jsonb
);

create index trades_symbol_time           on trades           (symbol, time desc);
create index quotes_symbol_time           on quotes           (symbol, time desc);
create index tickers_symbol_time          on tickers          (symbol, time desc);
create index books_symbol_time            on books            (symbol, time desc);
create index candles_symbol_time          on candles          (symbol, time desc);
create index funding_rates_symbol_time    on funding_rates    (symbol, time desc);
create index open_interest_symbol_time    on open_interest    (symbol, time desc);
create index reference_prices_symbol_time on reference_prices (symbol, time desc);
create index liquidations_symbol_time     on liquidations     (symbol, time desc);
create index messages_symbol_time         on messages         (symbol, time desc);

create unique index candles_key on candles (source, channel, symbol, interval, time);
