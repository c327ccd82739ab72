"""Between MQTT and charging: link, dispatch, sample batches, command outbox, enrolment."""
