"""As much of a client of containerd's tasks service as the tests need of what ctr has no words for:
services/tasks/v1/tasks.proto."""

import json

import grpc

from protobuf import message

RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"


def update(socket, task, resources):
    """Gives a task of ctr's namespace new limits, `resources` as in config.json."""
    with grpc.insecure_channel(f"unix://{socket}") as channel:
        call = channel.unary_unary("/containerd.services.tasks.v1.Tasks/Update", lambda x: x, lambda x: x)
        any_of_it = message(_1=RESOURCES, _2=json.dumps(resources))
        call(message(_1=task, _2=any_of_it), timeout=60, metadata=(("containerd-namespace", "default"),))
