"""`pileway firmware ...`: sign firmware as its maker.

What a command needs is imported when it runs, as in `pileway.cli`.
"""

from pathlib import Path
from typing import Annotated

import typer

firmware = typer.Typer(name="firmware", help="Sign firmware for piles, as its maker.", no_args_is_help=True)

SigningKeyOption = Annotated[Path, typer.Option("--key", help="The maker's private key (Ed25519, PEM).")]


@firmware.command("keygen")
def firmware_keygen(key: SigningKeyOption) -> None:
    """Make a signing key, and beside it the public key for piles and platform."""
    from pileway import firmware_commands

    firmware_commands.keygen(key)


@firmware.command("sign")
def firmware_sign(
    image: Annotated[Path, typer.Argument(help="The file piles will install.")],
    model: Annotated[str, typer.Option(help="The model it is for.")],
    version: Annotated[str, typer.Option(help="Its version, such as 1.10.2.")],
    minimum_version: Annotated[str, typer.Option(help="The oldest version it may be installed over.")],
    key: SigningKeyOption,
    out: Annotated[
        Path | None, typer.Option(help="Where the manifest goes.", show_default="IMAGE.manifest.json")
    ] = None,
) -> None:
    """Write an image's manifest with its signature, ready to be uploaded beside it."""
    from pileway import firmware_commands

    firmware_commands.sign(
        image, model=model, version=version, minimum_version=minimum_version, key_path=key, out=out
    )
