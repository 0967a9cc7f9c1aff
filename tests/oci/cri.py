"""As much of a client of containerd's CRI service as the tests of pods need: cri-api's runtime/v1/api.proto."""

import grpc

from protobuf import message, parse

POD, CONTAINER, NODE = 0, 1, 2  # NamespaceMode


class Client:
    def __init__(self, socket):
        self.channel = grpc.insecure_channel(f"unix://{socket}")

    def call(self, method, request):
        stub = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method}", lambda x: x, lambda x: x)
        return parse(stub(request, timeout=60))

    def pod_config(self, name):
        # The host's network: pods of their own network need plugins (CNI) that are not the runtime's business.
        namespaces = message(_1=NODE, _2=POD)
        security = message(_2=message(_1=namespaces))
        return message(_1=message(_1=name, _2=name, _3="default"), _3="/tmp", _8=security)

    def run_pod(self, name, handler):
        return self.call("RunPodSandbox", message(_1=self.pod_config(name), _2=handler))[1][0].decode()

    def create(self, pod, pod_name, name, image, command):
        security = message(_2=message(_3=message(_1=NODE, _2=POD)))
        config = message(_1=message(_1=name), _2=message(_1=image), _3=list(command), _11=f"{pod_name}-{name}.log", _15=security)
        request = message(_1=pod, _2=config, _3=self.pod_config(pod_name))
        return self.call("CreateContainer", request)[1][0].decode()

    def start(self, container):
        self.call("StartContainer", message(_1=container))

    def exec(self, container, *command):
        answer = self.call("ExecSync", message(_1=container, _2=list(command), _3=30))
        return answer.get(3, [0])[0], answer.get(1, [b""])[0].decode()

    def state(self, container):
        return parse(self.call("ContainerStatus", message(_1=container))[1][0]).get(3, [0])[0]

    def stop_pod(self, pod):
        self.call("StopPodSandbox", message(_1=pod))

    def remove_pod(self, pod):
        self.call("RemovePodSandbox", message(_1=pod))
