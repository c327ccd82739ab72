-- Beside each batch of a compressed day, a filter of its sessions: a session's curve opens its own batches only, not
-- those of its pile's other ports, and whoever looks everywhere passes by the days without it. Days compressed before
-- are read as before.
ALTER TABLE meter_sample SET (timescaledb.compress, timescaledb.compress_segmentby = 'pile_id, port_no', timescaledb.compress_orderby = 'sampled_at', timescaledb.sparse_index = 'bloom(session_id)');
