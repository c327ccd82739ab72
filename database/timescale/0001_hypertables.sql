-- Day chunks: at a thousand samples a second the indexes of the chunks being written stay in memory.
SELECT create_hypertable('meter_frame', by_range('sampled_at', INTERVAL '1 day'), create_default_indexes => false, migrate_data => true);
SELECT create_hypertable('meter_sample', by_range('sampled_at', INTERVAL '1 day'), create_default_indexes => false, migrate_data => true);
SELECT create_hypertable('pile_telemetry', by_range('sampled_at', INTERVAL '1 day'), create_default_indexes => false, migrate_data => true);
SELECT create_hypertable('pile_event', by_range('occurred_at', INTERVAL '1 day'), create_default_indexes => false, migrate_data => true);

ALTER TABLE meter_frame SET (timescaledb.compress, timescaledb.compress_segmentby = 'pile_id', timescaledb.compress_orderby = 'sampled_at');
ALTER TABLE meter_sample SET (timescaledb.compress, timescaledb.compress_segmentby = 'session_id', timescaledb.compress_orderby = 'sampled_at');
ALTER TABLE pile_telemetry SET (timescaledb.compress, timescaledb.compress_segmentby = 'pile_id', timescaledb.compress_orderby = 'sampled_at');
ALTER TABLE pile_event SET (timescaledb.compress, timescaledb.compress_segmentby = 'pile_id', timescaledb.compress_orderby = 'occurred_at');

-- A pile that was offline for days still writes into open chunks; a later one into compressed ones, which is slower.
SELECT add_compression_policy('meter_frame', compress_after => INTERVAL '7 days');
SELECT add_compression_policy('meter_sample', compress_after => INTERVAL '7 days');
SELECT add_compression_policy('pile_telemetry', compress_after => INTERVAL '7 days');
SELECT add_compression_policy('pile_event', compress_after => INTERVAL '7 days');

SELECT add_retention_policy('meter_frame', drop_after => INTERVAL '24 months');
SELECT add_retention_policy('meter_sample', drop_after => INTERVAL '24 months');
SELECT add_retention_policy('pile_telemetry', drop_after => INTERVAL '24 months');
SELECT add_retention_policy('pile_event', drop_after => INTERVAL '24 months');
