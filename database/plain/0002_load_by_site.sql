-- By pile and time, as on a server with TimescaleDB.
CREATE INDEX meter_sample_pile ON meter_sample (pile_id, sampled_at);
DROP INDEX meter_sample_session;

-- What was drawn at a site stays there in every report: a pile that moves is registered anew.
CREATE TRIGGER pile_keeps_its_site BEFORE UPDATE OF site_id ON pile
    FOR EACH ROW WHEN (OLD.site_id IS DISTINCT FROM NEW.site_id) EXECUTE FUNCTION forbid_change();

DROP VIEW pile_load_day;
DROP VIEW port_load_hour;

CREATE VIEW port_load_hour AS
SELECT date_bin(INTERVAL '1 hour', meter_sample.sampled_at, TIMESTAMPTZ '2000-01-01 00:00:00Z') AS hour,
       pile.site_id,
       meter_sample.pile_id,
       meter_sample.port_no,
       sum(meter_sample.power_mean_dw::bigint * meter_sample.window_s)::bigint AS energy_dws,
       sum(meter_sample.window_s) AS busy_s,
       max(meter_sample.power_max_dw) AS peak_dw,
       count(*) AS samples
  FROM meter_sample JOIN pile ON pile.pile_id = meter_sample.pile_id
 GROUP BY 1, 2, 3, 4;
COMMENT ON VIEW port_load_hour IS 'Load of a port in an hour as its samples tell it, for charts; never billed from.';
COMMENT ON COLUMN port_load_hour.energy_dws IS 'Energy in 0.1 W s: mean power times seconds covered.';
COMMENT ON COLUMN port_load_hour.busy_s IS 'Seconds the samples cover.';
COMMENT ON COLUMN port_load_hour.peak_dw IS 'Most power in 0.1 W.';

CREATE VIEW pile_load_day AS
SELECT date_trunc('day', hour, 'Asia/Shanghai') AS day,
       site_id,
       pile_id,
       sum(energy_dws)::bigint AS energy_dws,
       sum(busy_s)::bigint AS busy_s,
       max(peak_dw) AS peak_dw,
       sum(samples)::bigint AS samples
  FROM port_load_hour
 GROUP BY 1, 2, 3;
COMMENT ON VIEW pile_load_day IS 'Load of a pile on a local day (Asia/Shanghai), for charts; never billed from.';
COMMENT ON COLUMN pile_load_day.day IS 'The instant the local day begins.';
COMMENT ON COLUMN pile_load_day.energy_dws IS 'Energy in 0.1 W s.';
COMMENT ON COLUMN pile_load_day.busy_s IS 'Seconds of all ports the samples cover.';
COMMENT ON COLUMN pile_load_day.peak_dw IS 'Most power of one port in 0.1 W.';

-- It stands on the tables alone: the migration to TimescaleDB drops the two views above.
CREATE VIEW site_load_day AS
SELECT date_trunc('day', meter_sample.sampled_at, 'Asia/Shanghai') AS day,
       pile.site_id,
       sum(meter_sample.power_mean_dw::bigint * meter_sample.window_s)::bigint AS energy_dws,
       sum(meter_sample.window_s) AS busy_s,
       max(meter_sample.power_max_dw) AS peak_dw,
       count(*) AS samples
  FROM meter_sample JOIN pile ON pile.pile_id = meter_sample.pile_id
 GROUP BY 1, 2;
COMMENT ON VIEW site_load_day IS 'Load of a site on a local day (Asia/Shanghai), for charts; never billed from.';
COMMENT ON COLUMN site_load_day.day IS 'The instant the local day begins.';
COMMENT ON COLUMN site_load_day.energy_dws IS 'Energy in 0.1 W s.';
COMMENT ON COLUMN site_load_day.busy_s IS 'Seconds of all ports the samples cover.';
COMMENT ON COLUMN site_load_day.peak_dw IS 'Most power of one port in 0.1 W.';
