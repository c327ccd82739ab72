-- By pile and time: all ports of a frame share one key, so that the index stays small, grows at its piles' ends only,
-- and serves a session's curve (its pile, its hours) as well as the newest hours of a site.
-- A server that got the extension later has it.
CREATE INDEX IF NOT EXISTS meter_sample_pile ON meter_sample (pile_id, sampled_at);
DROP INDEX IF EXISTS meter_sample_session;

-- A batch of a port holds a thousand samples, one of a session only as many as the session has.
ALTER TABLE meter_sample SET (timescaledb.compress, timescaledb.compress_segmentby = 'pile_id, port_no', timescaledb.compress_orderby = 'sampled_at');

-- What was drawn at a site stays there in every report: a pile that moves is registered anew.
CREATE OR REPLACE TRIGGER pile_keeps_its_site BEFORE UPDATE OF site_id ON pile
    FOR EACH ROW WHEN (OLD.site_id IS DISTINCT FROM NEW.site_id) EXECUTE FUNCTION forbid_change();

-- The reports below are computed anew, from the samples that are there.
DO $$
DECLARE
    stored regclass := (
        SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass
          FROM timescaledb_information.continuous_aggregates
         WHERE view_schema = current_schema() AND view_name = 'port_load_hour');
    since timestamptz;
BEGIN
    IF stored IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT min(hour) FROM %s', stored) INTO since;
    IF since IS NOT NULL AND NOT EXISTS (SELECT FROM meter_sample WHERE sampled_at < since + INTERVAL '1 hour') THEN
        RAISE EXCEPTION 'the load reports reach back to %, farther than the samples they would be computed anew from', since
            USING HINT = 'Copy port_load_hour and pile_load_day to tables of your own, drop both with '
                         'DROP MATERIALIZED VIEW ... CASCADE, and migrate again.';
    END IF;
END
$$;

-- The site goes with every level, so that a question about one site reaches its piles' samples by the index above
-- for the hours that no refresh has seen.
DROP VIEW IF EXISTS site_load_day;
DROP MATERIALIZED VIEW IF EXISTS pile_load_day;
DROP MATERIALIZED VIEW IF EXISTS port_load_hour;

CREATE MATERIALIZED VIEW port_load_hour
    WITH (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.create_group_indexes = false) AS
SELECT time_bucket(INTERVAL '1 hour', meter_sample.sampled_at) AS hour,
       pile.site_id,
       meter_sample.pile_id,
       meter_sample.port_no,
       sum(meter_sample.power_mean_dw::bigint * meter_sample.window_s)::bigint AS energy_dws,
       sum(meter_sample.window_s) AS busy_s,
       max(meter_sample.power_max_dw) AS peak_dw,
       count(*) AS samples
  FROM meter_sample JOIN pile ON pile.pile_id = meter_sample.pile_id
 GROUP BY 1, 2, 3, 4
  WITH NO DATA;
CREATE INDEX port_load_hour_site ON port_load_hour (site_id, hour);
COMMENT ON VIEW port_load_hour IS 'Load of a port in an hour as its samples tell it, for charts; never billed from.';
COMMENT ON COLUMN port_load_hour.energy_dws IS 'Energy in 0.1 W s: mean power times seconds covered.';
COMMENT ON COLUMN port_load_hour.busy_s IS 'Seconds the samples cover.';
COMMENT ON COLUMN port_load_hour.peak_dw IS 'Most power in 0.1 W.';

CREATE MATERIALIZED VIEW pile_load_day
    WITH (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.create_group_indexes = false) AS
SELECT time_bucket(INTERVAL '1 day', hour, 'Asia/Shanghai') AS day,
       site_id,
       pile_id,
       sum(energy_dws)::bigint AS energy_dws,
       sum(busy_s)::bigint AS busy_s,
       max(peak_dw) AS peak_dw,
       sum(samples)::bigint AS samples
  FROM port_load_hour
 GROUP BY 1, 2, 3
  WITH NO DATA;
CREATE INDEX pile_load_day_site ON pile_load_day (site_id, day);
COMMENT ON VIEW pile_load_day IS 'Load of a pile on a local day (Asia/Shanghai), for charts; never billed from.';
COMMENT ON COLUMN pile_load_day.day IS 'The instant the local day begins.';
COMMENT ON COLUMN pile_load_day.energy_dws IS 'Energy in 0.1 W s.';
COMMENT ON COLUMN pile_load_day.busy_s IS 'Seconds of all ports the samples cover.';
COMMENT ON COLUMN pile_load_day.peak_dw IS 'Most power of one port in 0.1 W.';

CREATE MATERIALIZED VIEW site_load_day
    WITH (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.create_group_indexes = false) AS
SELECT time_bucket(INTERVAL '1 day', day, 'Asia/Shanghai') AS day,
       site_id,
       sum(energy_dws)::bigint AS energy_dws,
       sum(busy_s)::bigint AS busy_s,
       max(peak_dw) AS peak_dw,
       sum(samples)::bigint AS samples
  FROM pile_load_day
 GROUP BY 1, 2
  WITH NO DATA;
CREATE INDEX site_load_day_site ON site_load_day (site_id, day);
COMMENT ON VIEW site_load_day IS 'Load of a site on a local day (Asia/Shanghai), for charts; never billed from.';
COMMENT ON COLUMN site_load_day.day IS 'The instant the local day begins.';
COMMENT ON COLUMN site_load_day.energy_dws IS 'Energy in 0.1 W s.';
COMMENT ON COLUMN site_load_day.busy_s IS 'Seconds of all ports the samples cover.';
COMMENT ON COLUMN site_load_day.peak_dw IS 'Most power of one port in 0.1 W.';

-- Each is filled after this, and gets its refresh policy with that: see database/timescale.py.
