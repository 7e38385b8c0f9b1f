"""What reading a day of nine nodes may cost. CPU time stands for time, since others work on the machine too."""

import pytest

from bench.diagnose import cost, write_days


@pytest.mark.slow
def test_a_day_of_nine_nodes_takes_four_seconds_and_150_mb_and_time_grows_linearly(tmp_path):
    day, quarter = write_days(tmp_path / "day", 1), write_days(tmp_path / "quarter", 0.25)
    page = tmp_path / "page.html"
    _, day_s, day_mib = cost(day, "--json", f"--html={page}")
    _, quarter_s, _ = cost(quarter, "--json", f"--html={page}")
    assert day_s < 4
    assert day_mib < 150e6 / 2**20
    assert day_s < 4.5 * quarter_s
