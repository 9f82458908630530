"""The schema's history, carried by the wheel; run by `meterport db upgrade` and by `serve`."""
