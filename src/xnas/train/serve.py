"""What processes do that do not lead: the steps of every course and test that the leading one orders, with their part
of each batch. They write nothing and say nothing."""

import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import torch

from xnas.config.loading import parse_config
from xnas.config.schema import Config
from xnas.data.images import DataSet, Normalisation
from xnas.io.errors import Interrupted, NonFinite, RankLost, RanksDiffer
from xnas.report.terminal import quiet
from xnas.runs.folder import SEARCH
from xnas.runs.signals import StopRequest, stop_on_signals
from xnas.space.architecture import parse_architecture
from xnas.train.build import build_dataset, network_spec, resolve_stems
from xnas.train.device import pick_device, prepare_kernels, use_threads
from xnas.train.distributed import END, Order, ProcessGroup, join, leave
from xnas.train.evaluate import TEST, test_network
from xnas.train.launch import Launch
from xnas.train.loop import sync_after_step
from xnas.train.memory import is_out_of_memory
from xnas.train.retrain import RetrainTrainer
from xnas.train.search import SearchTrainer
from xnas.train.trained_network import bring_back
from xnas.train.trainer import Trainer


def run_together(launch: Launch, verb: Callable[[], int]) -> int:
    """Run a verb as one of several processes; returns the exit code, which is that of all.

    Raises ValueError or RankLost if they do not meet.
    """
    ranks = join(launch)
    code = 1
    try:
        if ranks.is_main:
            code = verb()
        else:
            with quiet():  # the main rank says it
                code = serve(ranks)
    finally:
        if ranks.is_main:
            ranks.end(code)
    if code == RankLost.exit_code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads of a broken connection may wait for ever
    leave()
    return code


def serve(ranks: ProcessGroup) -> int:
    """Do what is ordered until the end; returns the exit code."""
    server = _Server(ranks)
    while True:
        try:
            order = ranks.next_order()
        except RuntimeError:  # the store went with the leading process
            return RankLost.exit_code
        if order["what"] == END:
            ranks.answer()
            return int(order["code"])
        with stop_on_signals() as interrupt:
            code = server.carry_out(order, interrupt)
        if code is not None:
            return code


class _Server:
    """Keeps the images from one order to the next."""

    def __init__(self, ranks: ProcessGroup) -> None:
        self.ranks = ranks
        self._data: tuple[object, DataSet] | None = None

    def carry_out(self, order: Order, interrupt: StopRequest) -> int | None:
        """Do an order; returns an exit code if nothing more can be done."""
        try:
            work = self._prepared(order)
        except Exception as error:
            self.ranks.answer(_reason(error))
            return 2
        self.ranks.answer()
        try:
            self.ranks.connect(order["backend"], timeout=order["timeout"])
            work(interrupt)
        except (Interrupted, NonFinite, RanksDiffer):
            return None  # the leading process has it too, and says what follows
        except Exception as error:
            return self._fail(error)
        return None

    def _fail(self, error: Exception) -> int:
        """After an error of its own, or of a connection that broke."""
        if (code := self.ranks.ended()) is not None:
            return code
        if (lost := self.ranks.lost(error)) is None:
            self.ranks.confess(_reason(error))
        elif self.ranks.speaks:
            print(f"xnas: {lost}; the last checkpoint is in the run folder", file=sys.stderr)
        return RankLost.exit_code

    def _prepared(self, order: Order) -> Callable[[StopRequest], object]:
        """What takes memory and time, before the others wait for it."""
        config = parse_config(order["config"], where="the leading process's settings")
        use_threads(config.threads)
        device = pick_device(config.device)
        prepare_kernels(device)
        data = self._images(config)
        if order["what"] == TEST:
            return lambda interrupt: self._test(order, config, data, device, interrupt)
        trainer = _course(order, config, data, device)
        for name, value in trainer.fingerprints().items():
            if order["facts"][name] != value:
                raise ValueError(f"{name} differ from those of the leading process")
        return lambda interrupt: self._follow(trainer, order["step"], interrupt)

    def _images(self, config: Config) -> DataSet:
        wanted = (config.data, config.seed)
        if self._data is None or self._data[0] != wanted:
            self._data = None  # makes room first
            self._data = (
                wanted,
                build_dataset(replace(config.data, download=False), seed=config.seed),
            )
        return self._data[1]

    def _follow(self, trainer: Trainer, steps: int, interrupt: StopRequest) -> None:
        trainer.load_state_dict(self.ranks.broadcast_tensors(None), step=steps)
        with closing(trainer.remaining_batches()) as stream:
            for batches in stream:
                trainer.training_step(*batches)
                number, _ = sync_after_step(trainer, signal=interrupt.number, due=False)
                if number is not None:
                    raise Interrupted(number)

    def _test(
        self, order: Order, config: Config, data: DataSet, device: torch.device, interrupt: StopRequest
    ) -> None:
        weights = self.ranks.broadcast_tensors(None)
        mean_C, std_C = weights.pop("mean_C"), weights.pop("std_C")
        plan = network_spec(config.retrain, image_channels=len(mean_C), num_classes=len(data.test.classes))
        network = bring_back(
            parse_architecture(order["genotype"]), plan, weights, where="the leading process's network"
        )
        test_network(
            network.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
            data.test,
            normalisation=Normalisation(mean_C=mean_C, std_C=std_C),
            device=device,
            interrupt=interrupt,
            together=True,
        )


def _course(order: Order, config: Config, data: DataSet, device: torch.device) -> Trainer:
    if order["what"] == SEARCH:
        search = SearchTrainer(config, data, device=device)
        search.make_repeatable()  # as a retraining is from its beginning
        return search
    genotype = parse_architecture(order["facts"]["the architecture"])
    return RetrainTrainer(genotype, resolve_stems(config, data.image_shape), data, device=device)


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())[:300]
    if is_out_of_memory(error):
        return f"out of memory: {said}"
    return said if isinstance(error, ValueError) else f"{type(error).__name__}: {said}"
