"""What ``check`` prints, and the file of its options: without a plug-in."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from devicemgr.cli.check.github import annotation, summary
from devicemgr.cli.check.last_failed import LastFailed
from devicemgr.cli.check.report import draw_checks, draw_report, junit_text, report_data, rerun_hint, summary_line
from devicemgr.cli.check.run import Outcome
from devicemgr.cli.check.verb import command
from devicemgr.cli.shared.atomic_files import write_atomically
from devicemgr.core.conversation.text import LEGEND
from devicemgr.errors import BadInput
from devicemgr.testing.conformance import CHECKS, Result, Verdict


def result(name, verdict, evidence, **more):
    return Result(
        check=name, title=CHECKS[name].title, rule=CHECKS[name].rule, verdict=verdict, evidence=evidence, **more
    )


LONG = "it ended within 11.0 s: rpc error: code = Unavailable desc = the server is shutting down " + "x" * 150
RESULTS = [
    result("registers", Verdict.PASSED, "vendor.com/gpu after 0.96 s"),
    result("stream-stays-open", Verdict.FAILED, LONG),
    result("sigterm-removes-socket", Verdict.WARNING, "[red]gpu.sock[/] \x1b[31m was\nthere"),
    result("cdi-names", Verdict.SKIPPED, "no answer names a CDI device"),
    result("ids-stable", Verdict.SKIPPED, "needs restart", blocked_by=("restart",)),
    result("stream-cancel", Verdict.NOT_RUN, "interrupted by SIGINT"),
]


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


@pytest.fixture
def drawn(monkeypatch, capsys):
    """``drawn(width)``: the report's lines on a terminal of so many columns."""

    def draw(width):
        for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": width}.items():
            monkeypatch.setenv(name, str(value))
        draw_report(RESULTS, seconds=3.0, output="")
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()

    return draw


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_too_long_and_no_word_lost(drawn, width):
    lines = drawn(width)
    assert max(map(len, lines)) <= width
    text = re.sub(r"[\s│]+", "", "".join(lines))
    for words in (LONG, r"[red]gpu.sock[/] \x1b[31m was\nthere", "interrupted by SIGINT: stream-cancel"):
        assert re.sub(r"\s+", "", words) in text
    assert "Fix: after the first list, wait" in " ".join(" ".join(lines).split())


def test_off_a_terminal_a_row_is_one_line_without_a_box(capsys):
    draw_report(RESULTS, seconds=3.0, output="")
    lines = capsys.readouterr().out.splitlines()
    rows = lines[lines.index("Device plug-in conformance") :][: 2 + len(RESULTS)]
    assert [re.split(" {2,}", row)[:2] for row in rows[1:4]] == [
        ["verdict", "check"],
        ["passed", "registers"],
        ["failed", "stream-stays-open"],
    ]
    assert LONG in rows[3]
    assert not [row for row in rows if set(row) & set("│┃━") or row != row.rstrip()]


@pytest.mark.parametrize("width", [40, 80, None])
def test_the_list_of_checks_has_their_names_whole(width, monkeypatch, capsys):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}.items() if width else ():
        monkeypatch.setenv(name, value)
    draw_checks([*CHECKS.values()])
    shown = capsys.readouterr().out
    assert set(CHECKS) <= set(re.sub(r"\x1b\[[0-9;]*m", "", shown).split())
    assert width or "│" not in shown


def test_the_failures_come_last_with_the_fix(drawn):
    text = "\n".join(drawn(80))
    ends = ["not run", "sigterm-removes-socket (a warning) ──", "Fix: stop the gRPC", "stream-stays-open ──"]
    assert sorted(map(text.index, ends)) == [*map(text.index, ends)]
    assert "Seen in public: TencentBlueKing/bk-bcs#925." in text
    assert text.splitlines()[-1] == "1 passed, 1 failed, 1 warning, 2 skipped, 1 not run in 3.0 s"


@pytest.mark.parametrize(
    ("seconds", "patience", "told"),
    [
        (4.0, 30.0, "To run only the failed checks again: --last-failed."),
        (
            30.2,
            30.0,
            "To run only the failed checks again: --last-failed. "
            "To wait less for what does not come: --patience SECONDS (30 now).",
        ),
    ],
)
def test_the_report_says_how_to_run_the_failed_checks_again(seconds, patience, told):
    passed = result("registers", Verdict.PASSED, "vendor.com/gpu after 0.96 s")
    failed = result("restart", Verdict.FAILED, "it did not call Register", seconds=seconds)
    assert rerun_hint([passed, failed], patience=patience) == told
    assert "--last-failed" not in rerun_hint([failed], patience=patience)


def test_a_run_without_failures_has_no_hints():
    slow = result("numa-plausible", Verdict.WARNING, "gpu-0 on [1]", seconds=40)
    assert rerun_hint([slow, result("restart", Verdict.PASSED, "", seconds=31)], patience=30) == ""


def test_a_check_that_was_seen_nowhere_in_public_does_not_say_so():
    assert CHECKS["socket-deleted"].sources == "Rule: REG-17, REG-22."
    assert CHECKS["restart"].sources.endswith(". Seen in public: k8snetworkplumbingwg/sriov-network-device-plugin#411.")


def test_what_a_plugin_says_is_no_command_to_github():
    hostile = result("registers", Verdict.FAILED, "100%\n::set-env name=A::b | <img> `x`")
    (line,) = annotation(hostile).splitlines()
    assert line.startswith("::error title=device plug-in check registers::Registers")
    assert r"Found: 100%25\n::set-env name=A::b" in line
    row = summary([hostile]).splitlines()[-1]
    assert row.count(" | ") == 3
    assert "<" not in row
    assert "`" not in row


def test_a_warning_is_a_warning_on_github():
    warning = result("numa-plausible", Verdict.WARNING, "this machine has [0]; gpu-0 on [1]")
    failure = result("registers", Verdict.FAILED, "it did not call Register")
    assert annotation(warning).startswith("::warning title=device plug-in check numa-plausible::Names NUMA nodes")
    tables = summary([warning, failure]).split("\n\n")
    assert [table.splitlines()[0] for table in tables] == [
        "### Device plug-in conformance",
        "0 passed, 1 failed, 1 warning, 0 skipped",
        "| failed | a plug-in … | found | fix |",
        "| warning | a plug-in … | found | fix |",
    ]
    assert tables[-1].splitlines()[-1].startswith("| numa-plausible | Names NUMA nodes")


def test_warnings_are_counted_as_what_they_are():
    warning = result("numa-plausible", Verdict.WARNING, "this machine has [0]; gpu-0 on [1]")
    assert summary_line([warning] * 2) == "0 passed, 0 failed, 2 warnings, 0 skipped"
    data = report_data([warning])
    assert (data["summary"]["warning"], data["results"][0]["verdict"]) == (1, "warning")


def test_to_junit_a_warning_is_skipped_with_all_that_is_known_of_it():
    suite = ElementTree.fromstring(junit_text(RESULTS).partition("\n")[2])
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped")} == {
        "tests": "6",
        "failures": "1",
        "skipped": "4",
    }
    (case,) = [case for case in suite if case.get("name") == "sigterm-removes-socket"]
    assert case.find("skipped").get("message").startswith("warning: [red]gpu.sock")
    assert "Fix: stop the gRPC server" in case.find("system-out").text


SAID = tuple(f"{number:9.3f} s    [red]plugin[/] → manager  Register(\\x1b)" for number in range(30))


def test_a_check_that_found_something_shows_the_end_of_what_was_said(capsys):
    failed = result("restart", Verdict.FAILED, "it did not call Register", conversation=SAID)
    draw_report([result("registers", Verdict.PASSED, "", conversation=SAID), failed], seconds=3.0, output="")
    shown = capsys.readouterr().out.splitlines()
    begin = shown.index("What was said (all: --sequence restart):")
    assert shown[begin + 1 : begin + 23] == [LEGEND, *(f"│ {line}" for line in SAID[-20:]), ""]
    assert sum("Register(" in line for line in shown) == 20


@pytest.mark.parametrize("width", [60, 80])
def test_on_a_terminal_what_was_said_goes_on_beside_the_bar(width, monkeypatch, capsys):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}.items():
        monkeypatch.setenv(name, value)
    line = f"    0.004 s    manager ⇢ caller{' ' * 26}refused default/p: Allocate failed due to what a plug-in did"
    draw_report(
        [result("restart", Verdict.PASSED, "", conversation=(line,))], seconds=3.0, output="", sequence="restart"
    )
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    first, *more = [part for part in shown if part.startswith("│ ") and "restart" not in part]
    assert max(map(len, (first, *more))) <= width
    assert {part[:19] for part in more} == {"│" + " " * 18}
    assert " ".join(" ".join(part[2:] for part in (first, *more)).split()) == " ".join(line.split())


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.FAILED])
def test_all_that_was_said_is_shown_once(capsys, verdict):
    draw_report([result("restart", verdict, "", conversation=SAID)], seconds=3.0, output="", sequence="restart")
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if "Register(" in line] == [f"│ {line}" for line in SAID]
    draw_report([result("first-list", verdict, "")], seconds=3.0, output="", sequence="first-list")
    assert "Nothing was said while this check ran" in capsys.readouterr().out


def test_reports_for_machines_have_what_was_said_of_what_found_something():
    passed = result("registers", Verdict.PASSED, "", conversation=SAID)
    failed = result("restart", Verdict.FAILED, "it did not call Register", conversation=SAID)
    conversations = [one["conversation"] for one in report_data([passed, failed])["results"]]
    assert conversations == [[], list(SAID)]
    assert report_data([passed], sequence="registers")["results"][0]["conversation"] == list(SAID)
    suite = ElementTree.fromstring(junit_text([passed, failed]).partition("\n")[2])
    assert SAID[0] not in suite[0].find("system-out").text
    assert "\n".join(("What was said:", LEGEND, *SAID)) in suite[1].find("failure").text


@pytest.mark.parametrize("others", [["--only", "restart"], ["--skip", "restart"], ["--last-failed"]])
def test_sequence_chooses_the_check(others):
    done = CliRunner().invoke(command, ["--sequence", "registers", *others, "--", "true"])
    assert (done.exit_code, "--sequence runs one check" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("verdicts", "allow_skipped", "status"),
    [
        ([Verdict.PASSED, Verdict.WARNING], False, 0),
        ([Verdict.WARNING], False, 0),
        ([Verdict.WARNING, Verdict.FAILED], False, 1),
        ([Verdict.WARNING, Verdict.SKIPPED, Verdict.SKIPPED], False, 2),
        ([Verdict.WARNING, Verdict.SKIPPED, Verdict.SKIPPED], True, 0),
        ([Verdict.SKIPPED, Verdict.NOT_RUN], True, 2),
    ],
)
def test_a_warning_is_no_failure_of_the_run(verdicts, allow_skipped, status):
    results = [result("registers", verdict, "") for verdict in verdicts]
    assert Outcome(results=results, seconds=1.0, allow_skipped=allow_skipped).status == status


def test_what_was_a_failure_and_is_a_warning_did_not_fail_the_last_time():
    remembered = LastFailed("./plugin")
    remembered.remember([result("numa-plausible", Verdict.FAILED, ""), result("registers", Verdict.FAILED, "")])
    assert remembered.names() == {"numa-plausible", "registers"}
    remembered.remember([result("numa-plausible", Verdict.WARNING, "")])
    assert remembered.names() == {"registers"}


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """``listed(text, *options)``: the result of ``check --list`` with a configuration."""
    monkeypatch.chdir(tmp_path)

    def run(text, *options, name="check.toml"):
        (tmp_path / name).write_text(text)
        given = () if name == "pyproject.toml" else ("--config", name)
        done = CliRunner().invoke(command, ["--list", "-o", "json", *given, *options])
        if isinstance(done.exception, BadInput):
            return str(done.exception)
        assert done.exit_code == 0, done.output
        return re.findall('"check": "(.*)"', done.stdout)

    return run


TABLE = "[tool.devicemgr.check]\n"


def test_options_may_be_in_a_file_and_the_command_line_takes_precedence(listed):
    assert listed('only = ["restart"]') == ["restart"]
    assert listed(TABLE + 'only = ["restart", "wiped"]\nskip = ["wiped"]', name="pyproject.toml") == ["restart"]
    assert listed(TABLE + 'only = ["restart"]', "--only", "away", name="pyproject.toml") == ["away"]
    assert len(listed("[tool.other]", name="pyproject.toml")) == len(CHECKS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("patiense = 3", "check.toml: patiense: there is no such option; did you mean patience?"),
        ("plugin_log = 'x'", "check.toml: plugin_log: there is no such option; did you mean plugin-log?"),
        ("explain = 'restart'", "check.toml: explain: there is no such option"),
        ("sequence = 'restart'", "check.toml: sequence: there is no such option"),
        ("patience = '3'", "check.toml: patience: must be a number, not '3'"),
        ("isolate = 1", "check.toml: isolate: must be true or false, not 1"),
        ("only = 'restart'", "check.toml: only: must be a list of texts, not 'restart'"),
        ("command = ['./plugin', 1]", "check.toml: command: must be a list of texts"),
        ("restarts = true", "check.toml: restarts: must be a whole number, not True"),
        ("restarts = 2", "check.toml: restarts: 2 is not in the range x>=5."),
        ("only = [", "check.toml: cannot be read: "),
        ("\ufeffpatiense = 3", "check.toml: patiense: there is no such option"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(listed, text, problem):
    assert problem in listed(text)


def test_the_command_may_be_in_the_file_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text(TABLE + 'command = ["/no/such/program"]')
    assert "cannot start /no/such/program" in CliRunner().invoke(command, []).output
    assert "cannot start /no/other" in CliRunner().invoke(command, ["--", "/no/other"]).output


@pytest.mark.parametrize(
    ("file", "options", "subject"),
    [
        ('command = ["/no/such/program"]', ["--attach", "vendor.com/gpu"], "registers"),
        ('attach = "vendor.com/gpu"', ["--", "/no/such/program"], "cannot start /no/such/program"),
    ],
)
def test_what_the_command_line_checks_wins(tmp_path, monkeypatch, file, options, subject):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text(TABLE + file)
    usual = "--root-dir", str(tmp_path), "--patience", "0.1", "--only", "registers", "-o", "json"
    assert subject in CliRunner().invoke(command, [*usual, *options]).output


def test_a_report_goes_where_no_file_can_be_replaced(tmp_path):
    """``--junit /dev/stdout`` with a file behind it: what else is written there stays."""
    with (tmp_path / "log").open("w") as log:
        write_atomically(Path(f"/dev/fd/{log.fileno()}"), "report")
        log.flush()
        assert (tmp_path / "log").read_text() == "report"
        assert os.fstat(log.fileno()).st_nlink == 1


def test_a_report_keeps_the_symbolic_link_it_is_reached_by(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", "report")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "report"
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o666 & ~os.umask(os.umask(0o022))
