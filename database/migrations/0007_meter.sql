CREATE TABLE meter_frame (
    pile_id     text NOT NULL,
    sampled_at  timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (pile_id, sampled_at)
);
COMMENT ON TABLE meter_frame IS 'One row a meter frame: its key makes a replay harmless; the samples come and go with it.';

CREATE TABLE meter_sample (
    session_id         uuid NOT NULL,
    pile_id            text NOT NULL,
    port_no            smallint NOT NULL,
    sampled_at         timestamptz NOT NULL,
    received_at        timestamptz NOT NULL,
    elapsed_s          integer NOT NULL,
    window_s           smallint NOT NULL,
    voltage_dv         smallint NOT NULL,
    current_ma         integer NOT NULL,
    power_dw           integer NOT NULL,
    power_min_dw       integer NOT NULL,
    power_max_dw       integer NOT NULL,
    power_mean_dw      integer NOT NULL,
    power_factor_milli smallint NOT NULL,
    energy_dwh         bigint NOT NULL,
    temperature_dc     smallint NOT NULL,
    phase              smallint NOT NULL CHECK (phase BETWEEN 0 AND 3)
);
COMMENT ON TABLE meter_sample IS 'One port''s reading in one frame; sampled_at is the pile''s claim, received_at is ours.';
COMMENT ON COLUMN meter_sample.elapsed_s IS 'Seconds since the session started.';
COMMENT ON COLUMN meter_sample.window_s IS 'Seconds the minimum, maximum and mean cover.';
COMMENT ON COLUMN meter_sample.voltage_dv IS 'Mains voltage in 0.1 V.';
COMMENT ON COLUMN meter_sample.current_ma IS 'Current in mA.';
COMMENT ON COLUMN meter_sample.power_dw IS 'Power in 0.1 W.';
COMMENT ON COLUMN meter_sample.power_min_dw IS 'Least power in the window in 0.1 W.';
COMMENT ON COLUMN meter_sample.power_max_dw IS 'Most power in the window in 0.1 W.';
COMMENT ON COLUMN meter_sample.power_mean_dw IS 'Mean power in the window in 0.1 W.';
COMMENT ON COLUMN meter_sample.power_factor_milli IS 'Power factor in thousandths.';
COMMENT ON COLUMN meter_sample.energy_dwh IS 'Energy since the session started in 0.1 Wh.';
COMMENT ON COLUMN meter_sample.temperature_dc IS 'Socket temperature in 0.1 degrees Celsius.';
COMMENT ON COLUMN meter_sample.phase IS '0 constant current, 1 constant voltage, 2 float, 3 idle.';
CREATE INDEX meter_sample_session ON meter_sample (session_id, sampled_at);

CREATE TABLE pile_telemetry (
    pile_id              text NOT NULL,
    sampled_at           timestamptz NOT NULL,
    received_at          timestamptz NOT NULL,
    signal_dbm           smallint NOT NULL,
    board_temperature_dc smallint NOT NULL,
    mains_dv             smallint NOT NULL,
    power_dw             integer NOT NULL,
    energy_wh            bigint NOT NULL,
    leakage_ma           integer NOT NULL,
    unsent               integer NOT NULL,
    PRIMARY KEY (pile_id, sampled_at)
);
COMMENT ON TABLE pile_telemetry IS 'A pile''s heartbeats.';
COMMENT ON COLUMN pile_telemetry.board_temperature_dc IS 'Board temperature in 0.1 degrees Celsius.';
COMMENT ON COLUMN pile_telemetry.mains_dv IS 'Mains voltage in 0.1 V.';
COMMENT ON COLUMN pile_telemetry.power_dw IS 'Power of all ports in 0.1 W.';
COMMENT ON COLUMN pile_telemetry.energy_wh IS 'The pile''s energy register in Wh; it only grows.';
COMMENT ON COLUMN pile_telemetry.leakage_ma IS 'Leakage current in mA.';
COMMENT ON COLUMN pile_telemetry.unsent IS 'Records the pile still holds.';
