from __future__ import annotations

from collections import Counter

from tachikoma.makima.record import TaskStatus
from tachikoma.makima.server.metrics import exposition


def test_what_is_counted_is_told_as_prometheus_reads_it() -> None:
    text = exposition(
        tasks={TaskStatus.DONE: 3},
        daemons=2,
        streams=1,
        turned_away=4,
        requests=Counter({("getTask", 200): 5}),
    )
    values = [line for line in text.splitlines() if not line.startswith("#")]
    assert values == [
        'makima_tasks{status="done"} 3',
        "makima_daemons_connected 2",
        "makima_streams_open 1",
        "makima_daemons_turned_away_total 4",
        'makima_http_requests_total{endpoint="getTask",status="200"} 5',
    ]
    assert text.count("# TYPE ") == 5
