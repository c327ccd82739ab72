-- On a server that got the extension later these names are still views.
DROP VIEW IF EXISTS pile_load_day;
DROP VIEW IF EXISTS port_load_hour;

CREATE MATERIALIZED VIEW port_load_hour
    WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket(INTERVAL '1 hour', sampled_at) AS hour,
       pile_id,
       port_no,
       sum(power_mean_dw::bigint * window_s)::bigint AS energy_dws,
       sum(window_s) AS busy_s,
       max(power_max_dw) AS peak_dw,
       count(*) AS samples
  FROM meter_sample
 GROUP BY 1, 2, 3
  WITH NO DATA;
COMMENT ON VIEW port_load_hour IS 'Load of a port in an hour as its samples tell it, for charts; never billed from.';
COMMENT ON COLUMN port_load_hour.energy_dws IS 'Energy in 0.1 W s: mean power times seconds covered.';
COMMENT ON COLUMN port_load_hour.busy_s IS 'Seconds the samples cover.';
COMMENT ON COLUMN port_load_hour.peak_dw IS 'Most power in 0.1 W.';

CREATE MATERIALIZED VIEW pile_load_day
    WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket(INTERVAL '1 day', hour, 'Asia/Shanghai') AS day,
       pile_id,
       sum(energy_dws)::bigint AS energy_dws,
       sum(busy_s)::bigint AS busy_s,
       max(peak_dw) AS peak_dw,
       sum(samples)::bigint AS samples
  FROM port_load_hour
 GROUP BY 1, 2
  WITH NO DATA;
COMMENT ON VIEW pile_load_day IS 'Load of a pile on a local day (Asia/Shanghai), for charts; never billed from.';
COMMENT ON COLUMN pile_load_day.day IS 'The instant the local day begins.';
COMMENT ON COLUMN pile_load_day.energy_dws IS 'Energy in 0.1 W s.';
COMMENT ON COLUMN pile_load_day.busy_s IS 'Seconds of all ports the samples cover.';
COMMENT ON COLUMN pile_load_day.peak_dw IS 'Most power of one port in 0.1 W.';

-- Only what changed is computed again, so the window may reach back far: a pile that was offline for months still
-- counts. It must end before retention, or a refresh would erase what the dropped samples had told.
SELECT add_continuous_aggregate_policy('port_load_hour', start_offset => INTERVAL '700 days', end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '30 minutes');
SELECT add_continuous_aggregate_policy('pile_load_day', start_offset => INTERVAL '700 days', end_offset => INTERVAL '1 day', schedule_interval => INTERVAL '1 hour');
