"""A ``python`` for a shell to find that has imported already what takes seconds.

The server imports once and forks for each call; the program that stands on the PATH under the name
``python`` hands it arguments, folder, variables and streams, and ends with its exit status. So
commands run as they are typed, pipes and patterns included, each in a process of its own.
"""

import json
import os
import runpy
import socket
import stat
import sys
from pathlib import Path

CALLER = """#!{python} -IS
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(call).to_bytes(8, 'big')], [0, 1, 2])
    server.sendall(call)
    sys.exit((server.recv(1) or bytes([1]))[0])
"""


def write_caller(path: Path, address: Path) -> None:
    path.write_text(CALLER.format(python=sys.executable, address=str(address)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def serve(address: str) -> list[str]:
    """Answer calls, one after the other, until the process is ended.

    Returns:
        In a process that is forked for a call, the arguments that it is to be run with.
    """
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print('ready', flush=True)
        while True:
            caller, _ = server.accept()
            with caller:
                head, streams, *_ = socket.recv_fds(caller, 8, 3)
                text = b''
                while len(text) < int.from_bytes(head, 'big'):
                    text += caller.recv(1 << 16)
                child = os.fork()
                if not child:
                    return _become(*json.loads(text), streams)
                for stream in streams:
                    os.close(stream)
                _, status = os.waitpid(child, 0)
                caller.sendall(bytes([os.waitstatus_to_exitcode(status) % 256]))


def _become(
    arguments: list[str], folder: str, variables: dict[str, str], streams: list[int]
) -> list[str]:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    paths = variables.get('PYTHONPATH', '').split(os.pathsep)
    sys.path[1:1] = [path for path in paths if path and path not in sys.path]
    return arguments


def _import_packages() -> None:
    import mmdet.datasets
    import mmdet.evaluation  # noqa: F401
    import mmseg.apis
    import mmseg.datasets  # noqa: F401

    import mmvision_mamba.cli
    import mmvision_mamba.engine.hooks
    import mmvision_mamba.inference.files.predict_files
    import mmvision_mamba.inference.predictor  # noqa: F401


if __name__ == '__main__':
    _import_packages()
    arguments = serve(sys.argv[1])
    # From here on it is as in the interpreter, to how it ends.
    if arguments[0] == '-m':
        sys.argv, sys.path[0] = arguments[1:], os.getcwd()
        runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).resolve().parent)
        runpy.run_path(sys.argv[0], run_name='__main__')
