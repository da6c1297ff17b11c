"""The command line: `dualdub demo | dub | web | train | data … | evaluate | export | convert | codec … |
aot`.

Exit status 0: the job is complete; 2: bad usage or bad input, one line on standard error that names the
remedy; 130 or 143: interrupted by SIGINT or SIGTERM; 1: a fault of ours, with a traceback (of `evaluate`
also: a clip failed; of `dub --manifest`: a film failed). Packages are imported inside the commands, so that
`--help` and signals are answered at once.
"""

import argparse
import functools
import gc
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dualdub_jax.apps.signals import SignalWatch
from dualdub_jax.apps.streams import prepare_streams
from dualdub_jax.errors import UserError, UserErrors

if TYPE_CHECKING:
    from dualdub_jax.config import Config
    from dualdub_jax.data_pipeline.beam import Beam
    from dualdub_jax.dubbing.delivery import Targets
    from dualdub_jax.dubbing.dub import Soundtrack
    from dualdub_jax.dubbing.request import DubRequest

_STOPPED = 130  # exit status of a run that was stopped on request and saved


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status.

    Args:
        argv: the arguments; None: those of this process, whose signals and standard streams are then handled
            as well.
    """
    if argv is not None:
        return _status_of(lambda: _run(argv))
    prepare_streams()
    signals = SignalWatch()
    status = _status_of(lambda: signals.run(lambda: _run(sys.argv[1:], signals)))
    if status:
        # Cycles of a failed run hold batches in shared memory, which Python would warn of when it exits.
        gc.collect()
    if signals.number is not None:
        sys.stdout.flush()
        signals.leave()
    return status


def _run(argv: Sequence[str], signals: SignalWatch | None = None) -> int:
    from dualdub_jax.apps.arguments import parse

    args = parse(argv)
    args.command_line = ("dualdub", *argv)
    if signals is not None and args.command == "dub":
        from dualdub_jax.apps import interrupted_dub

        signals.advice = interrupted_dub.advice(args)
    return _COMMANDS[args.command](args)


def _status_of(command: Callable[[], int]) -> int:
    """Runs a command and reports what went wrong on standard error."""
    try:
        status = command()
        sys.stdout.flush()  # here a full disk is still an error of the command
        return status
    except UserError as error:
        for message in error.messages if isinstance(error, UserErrors) else [str(error)]:
            # One line whatever is in the names: a newline in a file name would make it two.
            print("dualdub: " + " ".join(message.split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dualdub: interrupted", file=sys.stderr)
        return _STOPPED
    except Exception:  # all that users can cause are UserErrors: this is ours, and nothing is hidden
        import traceback

        traceback.print_exc()
        print("dualdub: this is a fault of DualDub; please report it with the lines above", file=sys.stderr)
        return 1


def _demo(args: argparse.Namespace) -> int:
    import importlib.resources

    from dualdub_jax.dubbing.delivery import Targets
    from dualdub_jax.dubbing.request import DubRequest

    assets = pathlib.Path(str(importlib.resources.files("dualdub_jax"))) / "assets" / "demo"
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{args.out}: cannot be made ({error.strerror}); choose another folder") from None
    request = DubRequest(assets / "clip.mp4", assets / "script.txt", assets / "voice.wav", seed=args.seed)
    targets = Targets(args.out / "soundtrack.mp4", stems=args.out, report=args.out / "report.html")
    return _run_project(
        request,
        targets,
        measure=lambda soundtrack: _measure_demo(soundtrack, assets),
        command=args.command_line,
    )


def _measure_demo(soundtrack: "Soundtrack", assets: pathlib.Path) -> list[tuple[str, str]]:
    from dualdub_jax.evaluation.run.demo_figures import measure_demo

    return measure_demo(soundtrack, assets)


def _dub(args: argparse.Namespace) -> int:
    from dualdub_jax.apps import dub_manifest, kept_project

    dub_manifest.check_usage(args)
    if args.manifest is None and kept_project.is_meant(args):
        return _dub_kept(args)
    if args.resume and args.project is None:
        raise UserError("--resume: only goes with --project DIR, which it continues; add that")
    import dataclasses

    from dualdub_jax.apps.dub_arguments import voices_of
    from dualdub_jax.config import SamplingConfig
    from dualdub_jax.dubbing.mix_settings import MixSettings
    from dualdub_jax.dubbing.request import DubRequest

    sampling = {
        field.name: getattr(args, field.name)
        for field in dataclasses.fields(SamplingConfig)
        if getattr(args, field.name) is not None
    }
    settings = dict(
        script=args.script,
        voice=args.voice,
        use_speech=not args.no_speech,
        use_background=not args.no_background,
        rt60_s=args.rt60,
        noise_dbfs=args.noise,
        seed=args.seed or 0,
        sampling=sampling,
        allow_overrun=args.allow_overrun,
        must_speak=not args.allow_inaudible,
        voices=voices_of(args.voices),
        max_rate=args.max_rate,
        strict=args.strict,
        mix=MixSettings(args.lufs, args.true_peak, args.duck, args.keep_original),
        takes=args.takes,
    )
    if args.manifest is not None:
        _quieten_libraries()
        return dub_manifest.run(args, settings)
    request = DubRequest(video=args.video, **settings)
    return _run_project(
        request,
        _targets(args, args.video),
        args.project,
        args.checkpoint,
        args.allow_code,
        use_codec_decoders=args.decoder == "codec",
        command=args.command_line,
        resume=args.resume,
    )


def _targets(args: argparse.Namespace, video: pathlib.Path) -> "Targets":
    from dualdub_jax.dubbing.delivery import Targets

    if args.stem_rate is not None and args.stems is None:
        raise UserError("--stem-rate: only goes with --stems DIR, whose files have it; add that")
    # Not `with_name`, which fails for a path without a name, such as "/".
    out = args.output or video.parent / f"{video.stem}.soundtrack.mp4"
    return Targets.make(
        out,
        args.stems,
        args.receipt,
        args.report,
        subtitles=args.subtitles,
        stem_rate=args.stem_rate,
        audio_tracks=args.audio_tracks,
        language=args.language,
    )


def _dub_kept(args: argparse.Namespace) -> int:
    """Works on a project that is there: continues it, delivers a take, or generates a region anew."""
    _quieten_libraries()
    from dualdub_jax.apps import kept_project
    from dualdub_jax.apps.finished_project import deliver_and_report
    from dualdub_jax.dubbing.progress import make_progress

    kept_project.check(args)
    if args.resume:
        request = kept_project.read_begun(args)
        targets = _targets(args, request.video)
        return _run_project(
            request,
            targets,
            args.project,
            **kept_project.model_of(args),
            command=args.command_line,
            resume=True,
        )
    progress = make_progress()
    with kept_project.open_finished(args, progress) as project:
        targets = _targets(args, project.film.path)
        targets.check(project.request.inputs, bool(project.original_sounds))
        targets.check_space(project.film)
        kept_project.work(args, project)
        deliver_and_report(project, targets, command=args.command_line)
    return 0


def _run_project(
    request: "DubRequest",
    targets: "Targets",
    folder: pathlib.Path | None = None,
    checkpoint: pathlib.Path | None = None,
    allow_code: bool = False,
    measure: "Callable[[Soundtrack], list[tuple[str, str]]] | None" = None,
    use_codec_decoders: bool = False,
    command: Sequence[str] = (),
    resume: bool = False,
) -> int:
    """What `demo` and `dub` share: a request becomes a project, and the project is delivered."""
    _quieten_libraries()
    import dualdub_jax
    from dualdub_jax.apps.finished_project import deliver_and_report
    from dualdub_jax.dubbing.dub import Soundtrack
    from dualdub_jax.dubbing.progress import make_progress
    from dualdub_jax.dubbing.project import Project

    targets.check(request.inputs, has_original=bool(request.mix.keep_original))
    progress = make_progress()
    with Project(request, folder, progress, resume=resume) as project:
        # What can be found wrong with the inputs alone is found before the model is loaded.
        project.read(targets.out)
        targets.check_space(project.film)
        from dualdub_jax.evaluation.run.take_scores import score_take  # imports JAX, like the next
        from dualdub_jax.parallel.program_cache import keep_programs

        keep_programs()
        with progress.step("load model"):
            model = dualdub_jax.load(checkpoint, allow_code=allow_code, use_codec_decoders=use_codec_decoders)
        project.dub(model.engine, model.checkpoint, score_take)
        figures = []
        if measure is not None:
            with progress.step("measure"):
                figures = measure(Soundtrack(project))
        deliver_and_report(project, targets, figures, command)
    return 0


def _web(args: argparse.Namespace) -> int:
    _quieten_libraries()
    from dualdub_jax.apps.web import command

    return command.run(args)


def _train(args: argparse.Namespace) -> int:
    from dualdub_jax.config import load_config
    from dualdub_jax.media.outputs import check_folder

    check_folder(args.workdir, "--workdir")
    config = load_config(args.config, args.overrides)
    from dualdub_jax.parallel.simulated_devices import give_threads
    from dualdub_jax.training import kept_pages

    give_threads()
    if config.keep_pages:
        kept_pages.keep_pages()
    if not args.distributed:
        for flag in ("coordinator", "num_processes", "process_id"):
            if getattr(args, flag) is not None:
                raise UserError(f"--{flag.replace('_', '-')}: only goes with --distributed; add that")
        return _run_training(args, config)
    from dualdub_jax.parallel import distributed

    distributed.initialize(args.coordinator, args.num_processes, args.process_id)
    status = _status_of(lambda: _run_training(args, config))
    # Stopped on request: all of them are, after the same step. Any other failure may be this process's alone.
    distributed.leave(status, together=status in (0, _STOPPED))
    return status


def _run_training(args: argparse.Namespace, config: "Config") -> int:
    from dualdub_jax.curriculum.preflight.run import check_run
    from dualdub_jax.curriculum.program import train
    from dualdub_jax.parallel.distributed import PeerLostError
    from dualdub_jax.parallel.program_cache import keep_programs
    from dualdub_jax.training.kept_pages import missed_on_cpu
    from dualdub_jax.training.loop import TrainingDivergedError, TrainingStoppedError

    is_first = not args.distributed or args.process_id in (0, None)
    if config.keep_pages and missed_on_cpu():
        print(
            "dualdub: an accelerator's plugin is installed and found none, so this trains on the CPU without "
            "keeping freed memory, which is slower; set JAX_PLATFORMS=cpu",
            file=sys.stderr,
        )
    keep_programs()
    phases = args.phases.split(",") if args.phases else None
    if args.check:
        check_run(config, args.workdir, phases, extend=args.extend)
        if is_first:
            print("nothing was trained")
        return 0
    try:
        bundle = train(config, args.workdir, phases=phases, extend=args.extend)
    except TrainingStoppedError as stopped:
        print(f"dualdub: {stopped}", file=sys.stderr)
        return _STOPPED
    except (TrainingDivergedError, PeerLostError) as failed:
        print(f"dualdub: {failed}", file=sys.stderr)
        return 1
    if is_first:
        print(f"wrote {bundle}" if bundle else "these phases are done; the bundle is written when all are")
    return 0


def _data_build(args: argparse.Namespace) -> int:
    from dualdub_jax.media.outputs import check_folder

    check_folder(args.out, "--out")
    from dualdub_jax.data_pipeline.build import build_configs
    from dualdub_jax.data_pipeline.builders.registry import split_name

    _, config = split_name(args.name)
    builder = args.builder.from_arguments(args)
    build_configs(builder, args.out, only=config, num_processes=args.processes, beam=_beam(args))
    return 0


def _beam(args: argparse.Namespace) -> "Beam | None":
    from dualdub_jax.data_pipeline.beam import Beam

    if args.beam_runner is None:
        if args.beam_options:
            raise UserError("--beam-option: only goes with --beam-runner; add that")
        return None
    beam = Beam(args.beam_runner, tuple(args.beam_options))
    beam.check()
    return beam


def _data_prepare(args: argparse.Namespace) -> int:
    _quieten_libraries()
    from dualdub_jax.config import load_config
    from dualdub_jax.data_pipeline.beam import prepare_shards
    from dualdub_jax.data_pipeline.dataset import find_datasets
    from dualdub_jax.data_pipeline.derivations import bundle_of_codecs, derivations
    from dualdub_jax.data_pipeline.prepare import prepare
    from dualdub_jax.parallel.program_cache import keep_programs

    folders = find_datasets(args.folder)
    keep_programs()
    config = load_config(args.config, args.overrides)
    beam = _beam(args)
    bundle = args.codecs_from or bundle_of_codecs(config)
    for derivation in derivations(config, bundle):
        for folder in folders:
            elsewhere = beam and functools.partial(
                prepare_shards, beam, folder, config, bundle, derivation.kind
            )
            prepare(folder, *derivation, bad_records=config.bad_records, elsewhere=elsewhere)
    return 0


def _data_inspect(args: argparse.Namespace) -> int:
    from dualdub_jax.media.outputs import check_outputs
    from dualdub_jax.stores.path import is_remote

    check_outputs([path for path in (args.sheet, args.html) if path is not None], [])
    from dualdub_jax.data_pipeline.inspection import inspect

    page = args.html
    if page is None and not is_remote(args.folder) and os.access(args.folder, os.W_OK):
        page = args.folder / "inspect.html"
    inspect(args.folder, sheet=args.sheet, page=page)
    if page is None:
        print(f"no page: {args.folder} is on a store or cannot be written; give --html FILE")
    return 0


def _data_check(args: argparse.Namespace) -> int:
    _quieten_libraries()
    from dualdub_jax.config import load_config
    from dualdub_jax.curriculum.preflight.dataset import check_datasets

    check_datasets(args.folder, load_config(args.config, args.overrides), json_file=args.json)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    _quieten_libraries()
    from dualdub_jax.evaluation.run import command

    return command.run(args)


def _export(args: argparse.Namespace) -> int:
    _quieten_libraries()
    from dualdub_jax.media.outputs import check_folder

    check_folder(args.out, "OUT")
    from dualdub_jax.tools import export

    return export.run(args)


def _convert(args: argparse.Namespace) -> int:
    from dualdub_jax.media.outputs import check_folder

    check_folder(args.out, "OUT")
    _quieten_libraries()
    from dualdub_jax.convert.public_weights import convert_public_weights

    converted = convert_public_weights(args.source, args.out)
    print(converted.summary)
    if converted.check:
        print(converted.check)
    print(f"wrote {args.out}; in a config: {converted.usage}")
    return 0


def _codec(args: argparse.Namespace) -> int:
    _quieten_libraries()
    from dualdub_jax.parallel.program_cache import keep_programs
    from dualdub_jax.tools import codec

    keep_programs()
    return codec.run(args)


def _aot(args: argparse.Namespace) -> int:
    _quieten_libraries()
    if args.json is not None:
        from dualdub_jax.media.outputs import check_outputs

        check_outputs([args.json], [])
    # Compiling for an absent slice runs on the CPU, also where libtpu would look for devices of its own.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # or JAX asks a cloud's metadata server, when imported
    from dualdub_jax.tools import aot

    return aot.run(args)


def _quieten_libraries() -> None:
    """Bad input is answered with one line: libraries must not add lines of their own."""
    import logging
    import warnings

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.ERROR)
    for name in ("absl", "jax", "orbax"):
        logging.getLogger(name).setLevel(logging.ERROR)


_COMMANDS = {
    "demo": _demo,
    "dub": _dub,
    "web": _web,
    "train": _train,
    "data build": _data_build,
    "data prepare": _data_prepare,
    "data inspect": _data_inspect,
    "data check": _data_check,
    "evaluate": _evaluate,
    "export": _export,
    "convert": _convert,
    "codec encode": _codec,
    "codec decode": _codec,
    "codec roundtrip": _codec,
    "aot": _aot,
}


if __name__ == "__main__":
    sys.exit(main())
