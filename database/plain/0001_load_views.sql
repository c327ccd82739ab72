-- The same names and columns as the continuous aggregates of a server with TimescaleDB.
CREATE VIEW port_load_hour AS
SELECT date_bin(INTERVAL '1 hour', sampled_at, TIMESTAMPTZ '2000-01-01 00:00:00Z') AS hour,
       pile_id,
       port_no,
       sum(power_mean_dw::bigint * window_s)::bigint AS energy_dws,
       sum(window_s) AS busy_s,
       max(power_max_dw) AS peak_dw,
       count(*) AS samples
  FROM meter_sample
 GROUP BY 1, 2, 3;
COMMENT ON VIEW port_load_hour IS 'Load of a port in an hour as its samples tell it, for charts; never billed from.';
COMMENT ON COLUMN port_load_hour.energy_dws IS 'Energy in 0.1 W s: mean power times seconds covered.';
COMMENT ON COLUMN port_load_hour.busy_s IS 'Seconds the samples cover.';
COMMENT ON COLUMN port_load_hour.peak_dw IS 'Most power in 0.1 W.';

CREATE VIEW pile_load_day AS
SELECT date_trunc('day', hour, 'Asia/Shanghai') AS day,
       pile_id,
       sum(energy_dws)::bigint AS energy_dws,
       sum(busy_s)::bigint AS busy_s,
       max(peak_dw) AS peak_dw,
       sum(samples)::bigint AS samples
  FROM port_load_hour
 GROUP BY 1, 2;
COMMENT ON VIEW pile_load_day IS 'Load of a pile on a local day (Asia/Shanghai), for charts; never billed from.';
COMMENT ON COLUMN pile_load_day.day IS 'The instant the local day begins.';
COMMENT ON COLUMN pile_load_day.energy_dws IS 'Energy in 0.1 W s.';
COMMENT ON COLUMN pile_load_day.busy_s IS 'Seconds of all ports the samples cover.';
COMMENT ON COLUMN pile_load_day.peak_dw IS 'Most power of one port in 0.1 W.';
