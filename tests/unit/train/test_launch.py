import os

import pytest

from xnas.train.launch import Launch, first_host, launched

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "node007",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_MAX_RESTARTS": "0",
}
SRUN = {
    "SLURM_PROCID": "2",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "gpu[012-015],login",
    "SLURM_JOB_ID": "4711",
    "SLURM_NTASKS": "4",
}


def test_a_process_that_nobody_launched_is_alone() -> None:
    assert launched({}) is None


def test_torchrun_says_which_of_how_many_a_process_is() -> None:
    assert launched(dict(TORCHRUN)) == Launch(rank=3, size=8, local_rank=1, restarts=False)


def test_torchrun_says_how_many_share_the_cores_of_a_machine() -> None:
    launch = launched(TORCHRUN | {"LOCAL_WORLD_SIZE": "4"})
    assert launch == Launch(rank=3, size=8, local_rank=1, local_world_size=4)


def test_one_process_of_torchrun_is_alone() -> None:
    assert launched(TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}) is None


def test_torchrun_says_whether_it_begins_again_when_a_process_dies() -> None:
    launch = launched(TORCHRUN | {"TORCHELASTIC_MAX_RESTARTS": "2", "TORCHELASTIC_RESTART_COUNT": "1"})
    assert launch == Launch(rank=3, size=8, local_rank=1, restarts=True, attempt=1)


def test_srun_says_it_too_and_processes_meet_on_its_first_machine() -> None:
    environment = dict(SRUN)
    assert launched(environment) == Launch(rank=2, size=4, local_rank=0)
    assert environment["MASTER_ADDR"] == "gpu012"
    assert environment["MASTER_PORT"] == "24711"


def test_what_slurm_users_set_themselves_stays() -> None:
    environment = SRUN | {"MASTER_ADDR": "other", "MASTER_PORT": "1"}
    launched(environment)
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("other", "1")


def test_a_batch_script_of_slurm_is_not_a_process_of_srun() -> None:
    assert launched({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1"}) is None


def test_a_shell_that_srun_has_opened_is_no_process_of_several() -> None:
    own, shell = str(os.getpid()), str(os.getppid())
    salloc = {"SLURM_STEP_ID": "4294967290", "SLURM_PTY_PORT": "34889", "SLURM_TASK_PID": shell}
    assert launched(SRUN | salloc) is None
    assert launched(SRUN | {"SLURM_STEP_ID": "0", "SLURM_PTY_PORT": "34889", "SLURM_TASK_PID": shell}) is None
    # srun in such a shell, and srun --pty of the command itself
    assert launched(SRUN | salloc | {"SLURM_STEP_ID": "0", "SLURM_TASK_PID": own}) is not None
    # a script between srun and the command
    assert launched(SRUN | {"SLURM_STEP_ID": "0", "SLURM_TASK_PID": shell}) is not None


@pytest.mark.parametrize(("words", "name"), [(TORCHRUN, "WORLD_SIZE"), (SRUN, "SLURM_STEP_NUM_TASKS")])
def test_what_a_launcher_says_goes_with_how_to_run_alone(words: dict[str, str], name: str) -> None:
    launch = launched(dict(words))
    assert launch is not None
    assert launch.alone == f"to run alone: env -u {name} xnas ..."
    assert launched({key: value for key, value in words.items() if key != name}) is None


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("one", "one"),
        ("one,two", "one"),
        ("node[3,5-7]", "node3"),
        ("node[007-010,12],other", "node007"),
        ("a[1-2].cluster,b", "a1.cluster"),
    ],
)
def test_the_first_of_slurms_machines(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"RANK": "8"}, "RANK = 8 is none of WORLD_SIZE = 8 processes"),
        ({"RANK": "-1"}, "RANK must be a whole number; got '-1'"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE must be a whole number; got 'many'"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT must be a whole number; got 'http'"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT must lie between 1 and 65535; got 70000"),
    ],
)
def test_words_of_a_launcher_that_make_no_sense_are_refused(words: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        launched(TORCHRUN | words)


@pytest.mark.parametrize("name", ["MASTER_ADDR", "MASTER_PORT"])
def test_processes_that_do_not_know_where_to_meet_are_told_so(name: str) -> None:
    words = {key: value for key, value in TORCHRUN.items() if key != name}
    with pytest.raises(
        ValueError, match=f"8 processes were launched, but {name} does not say where they meet"
    ):
        launched(words)


def test_each_nodes_torchrun_in_a_step_of_its_own_is_of_one_start() -> None:
    node = {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_RUN_ID": "mine",
    }
    jobs = {
        found.job
        for step in ("0", "1")
        if (found := launched({**node, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": step})) is not None
    }
    assert jobs == {"mine"}
