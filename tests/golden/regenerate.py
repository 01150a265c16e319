"""Write the golden frames that do not exist yet: ``python -m tests.golden.regenerate``.

With ``--replace`` also those that exist. Do that only for frames that no release has shipped.
"""

import sys
from pathlib import Path

from presence_actors.wire import native_msgpack
from presence_actors.wire.native import encode_client, encode_server
from presence_actors.wire.peer import encode_frame
from presence_actors.wire.phoenix_frames import Version, encode_json
from tests.golden import supabase_frames as supabase
from tests.golden.frames import NATIVE_CLIENT, NATIVE_SERVER
from tests.golden.peer_frames import PEER
from tests.golden.phoenix_frames import CLIENT_V1, CLIENT_V2, encoded, server_frames

FOLDER = Path(__file__).parent


def main() -> None:
    """Write them."""
    contents: dict[Path, bytes] = {}
    for name, said in NATIVE_CLIENT.items():
        contents[FOLDER / "native-v1" / f"client-{name}.json"] = (
            encode_client(said).encode() + b"\n"
        )
        packed = native_msgpack.encode_client(said)
        contents[FOLDER / "native-v1-msgpack" / f"client-{name}.bin"] = packed
    for name, heard in NATIVE_SERVER.items():
        contents[FOLDER / "native-v1" / f"server-{name}.json"] = (
            encode_server(heard).encode() + b"\n"
        )
        packed = native_msgpack.encode_server(heard)
        contents[FOLDER / "native-v1-msgpack" / f"server-{name}.bin"] = packed
    for name, messages in PEER.items():
        contents[FOLDER / "peer-v4" / f"{name}.bin"] = encode_frame(messages)
    contents.update(_of_stock_clients())
    for path, content in contents.items():
        if path.exists() and "--replace" not in sys.argv[1:]:
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        sys.stdout.write(f"{path.relative_to(FOLDER)}\n")


def _of_stock_clients() -> dict[Path, bytes]:
    contents: dict[Path, bytes] = {}
    for version, said_by_clients in ((Version.V1, CLIENT_V1), (Version.V2, CLIENT_V2)):
        folder = FOLDER / f"phoenix-v{version}"
        for name, frame in said_by_clients.items():
            text = encode_json(encoded(version, frame))
            contents[folder / f"client-{name}.json"] = text + b"\n"
        for name, text in server_frames(version).items():
            contents[folder / f"server-{name}.json"] = text + b"\n"
    for version in Version:
        folder = FOLDER / f"supabase-v{version}"
        for name, said_by_client in supabase.CLIENT_V2.items():
            contents[folder / f"client-{name}.json"] = (
                supabase.encoded(version, said_by_client) + b"\n"
            )
        for name, data in supabase.server_frames(version).items():
            if name == supabase.SERVER_BINARY:
                contents[folder / f"server-{name}.bin"] = data
            else:
                contents[folder / f"server-{name}.json"] = data + b"\n"
    return contents


if __name__ == "__main__":
    main()
