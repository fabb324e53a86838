"""Show a trained network in the browser: ``python -m src.demo ckpt_path=FILE``; ``out=FOLDER`` is for a web host."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from src.cli.command import command, console


def demo(cfg: DictConfig) -> None:
    """Serve the page to this machine, or write it with ``out=``.

    Raises:
        UserError: no such network, no runtime, a port that is taken, or a folder that holds files already.
    """
    from src.inference.demo import demo_site
    from src.inference.serve import SiteServer, serve

    def say(line: str) -> None:
        out.print(line, highlight=False, soft_wrap=True)

    out = console()
    site = demo_site(cfg.ckpt_path, cfg.runtime, say)
    if cfg.out is None:
        serve(SiteServer(site, cfg.port), cfg.browser, say)
        return
    site.write(Path(cfg.out), cfg.overwrite is True)  # `missing` has a meaning for predictions only
    say(
        f"Written: {cfg.out}/ ({len(site.files)} files, {site.size / 1e6:.1f} MB), "
        "for any static host, or as a Hugging Face Space"
    )


@command("demo")
def main(cfg: DictConfig) -> None:
    """Run the command line of :func:`demo`."""
    demo(cfg)


if __name__ == "__main__":
    main()
