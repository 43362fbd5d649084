"""The pipelines of the guide: their shell steps are taken from the page and run on a registry."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import modelversion as mv

PAGE = Path(mv.__file__).parent.parent / "docs" / "how-to" / "ci.md"
FENCED = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
BLOCKS = [yaml.safe_load(text) for text in FENCED]


def github(name):
    """Give the job of a workflow."""
    (found,) = [block for block in BLOCKS if block.get("name") == name]
    ((_, job),) = found["jobs"].items()
    return job


def gitlab(name):
    """Give a job, with the variables of its file."""
    (found,) = [block for block in BLOCKS if name in block]
    return {"variables": {**found.get("variables", {})}, **found[name]}


@pytest.fixture
def project(tmp_path):
    """A checkout with a remote, a registry beside it, and a `pip` that installs nothing."""
    registry = mv.Registry(tmp_path / "registry", actor="ana@team")
    for auc in (0.8, 0.9):
        registry.save("churn", {"auc": auc}, metrics={"auc": auc})
        registry["churn"].latest.promote("staging")
    registry.set_policy("production", after="staging", gates=[mv.gates.at_least("auc", 0.85)])
    checkout, tools = tmp_path / "checkout", tmp_path / "tools"
    tools.mkdir()
    # A link to the Python of an environment has not the packages of the environment.
    programs = {"pip": "exit 0", "python": f'exec "{sys.executable}" "$@"'}
    for name, line in programs.items():
        (tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (tools / name).chmod(0o755)
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote")], check=True)
    subprocess.run(["git", "clone", "-q", str(tmp_path / "remote"), str(checkout)], check=True)
    return registry


def shell(script, folder, project, **variables):
    """Run a step as a runner does: stop at the first command that fails."""
    tools = folder.parent / "tools"
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(folder.parent),
        "PYTHONPATH": str(PAGE.parents[2]),
        "MODELVERSION_REGISTRY": project.url,
        "GITHUB_STEP_SUMMARY": str(folder.parent / "summary.md"),
        **variables,
    }
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )


def run_github(job, folder, project, **variables):
    """Run the steps of a job until one fails; give the last one's outcome."""
    done = None
    for step in job["steps"]:
        if "run" in step:
            done = shell(step["run"], folder, project, **variables)
            if done.returncode:
                break
    return done


def run_gitlab(job, folder, project, **variables):
    return shell("\n".join(job["script"]), folder, project, **variables)


def test_the_workflow_promotes_what_passes(project, tmp_path):
    """Its report stands in the summary, and its reason and actor in the journal."""
    given = {"VERSION": "churn:2", "REASON": "CR-118 $(touch pwned) `x`", "GITHUB_ACTIONS": "true"}
    given |= {"GITHUB_ACTOR": "octo", "GITHUB_RUN_ID": "7", "GITHUB_REPOSITORY": "a/b"}
    given |= {"GITHUB_SERVER_URL": "https://github.com"}

    done = run_github(github("Promote a model"), tmp_path / "checkout", project, **given)

    assert done.returncode == 0, done.stderr
    assert "auc at least 0.85" in (tmp_path / "summary.md").read_text()
    (decision,) = project["churn"].history("production")
    assert decision.reason == given["REASON"] and str(decision.actor) == "octo"
    assert not (tmp_path / "checkout" / "pwned").exists()


def test_the_workflow_stops_at_a_failed_gate(project, tmp_path):
    """With exit code 1, the report, and nothing promoted."""
    given = {"VERSION": "churn:1", "REASON": "CR-118"}

    done = run_github(github("Promote a model"), tmp_path / "checkout", project, **given)

    assert done.returncode == 1
    assert "auc is 0.8" in (tmp_path / "summary.md").read_text()
    assert project["churn"].stages["production"] == []


def test_a_workflow_takes_inputs_as_variables_only():
    """No expression stands in a script, where it would be a command."""
    for block in BLOCKS:
        for job in block.get("jobs", {}).values():
            assert not any("${{" in step.get("run", "") for step in job["steps"])


def test_the_gitlab_jobs_check_and_promote(project, tmp_path):
    """The check leaves its report as an artifact, pass or fail."""
    checkout = tmp_path / "checkout"
    for version, code in (("churn:1", 1), ("churn:2", 0)):
        job = gitlab("check")
        done = run_gitlab(job, checkout, project, VERSION=version)
        assert done.returncode == code, done.stderr
        assert "auc at least 0.85" in (checkout / job["artifacts"]["paths"][0]).read_text()

    done = run_gitlab(gitlab("promote"), checkout, project, VERSION="churn:2", REASON="CR-118")

    assert done.returncode == 0, done.stderr
    assert project["churn"]["production"].number == 2


def test_the_nightly_job_pins_and_finds_what_is_gone(project, tmp_path):
    """The first night pins, the second verifies against it, the third finds a cut journal."""
    job, checkout = github("Verify the models"), tmp_path / "checkout"
    assert run_github(job, checkout, project).returncode == 0
    project.get("churn:1").note("later")
    assert run_github(job, checkout, project).returncode == 0
    log = ["git", "-C", str(tmp_path / "remote"), "log", "--format=%s", "--all"]
    assert subprocess.check_output(log, text=True).splitlines() == ["Pin the models"] * 2
    sorted((tmp_path / "registry/models/churn/journal").glob("*.json"))[-1].unlink()

    done = run_github(job, checkout, project)

    assert done.returncode == 1
    assert "models/churn/journal/000000000003.json" in done.stdout


def test_the_announcing_job_hears_each_event_once(project, tmp_path):
    """From its first run on, by the cursor that its cache keeps."""
    job, checkout = gitlab("announce"), tmp_path / "checkout"
    assert job["cache"]["paths"] == ["cursor.txt"]
    assert run_gitlab(job, checkout, project).stdout == ""
    project["churn"][2].promote("production", reason="CR-118")

    assert run_gitlab(job, checkout, project).stdout == "churn:2 is in production by ana@team\n"
    assert run_gitlab(job, checkout, project).stdout == ""
    assert json.loads((checkout / "events.json").read_text())["events"] == []
