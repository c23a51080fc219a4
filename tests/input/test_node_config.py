"""Node configuration: both formats, their defaults, and errors that name the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from devicemgr.errors import BadInput, UnusableTopology
from devicemgr.input.node_config import parse_node_configs
from tests.helpers import parse_node_config

OPENSHIFT = "apiVersion: v1\nkind: NodeConfig\nkubeletArguments:\n  feature-gates:\n  - {}\n"
KUBELET = "kind: KubeletConfiguration\nfeatureGates:\n  DevicePlugins: {}\n"


@pytest.mark.parametrize(
    ("text", "on"),
    [
        (OPENSHIFT.format("DevicePlugins=true"), True),
        (OPENSHIFT.format("DevicePlugins=false"), False),
        (OPENSHIFT.format("Other=true,DevicePlugins=T"), True),
        ("kind: NodeConfig\n", False),
        ("kubeletArguments:\n  v:\n  - '2'\n", False),
        (KUBELET.format("true"), True),
        (KUBELET.format("false"), False),
        ("kind: KubeletConfiguration\ntopologyManagerPolicy: none\n", True),
    ],
)
def test_the_gate_is_read_from_both_formats(text, on):
    assert parse_node_config(text, file="node.yaml").device_plugins is on


def test_unknown_gates_are_reported_not_refused():
    config = parse_node_config(OPENSHIFT.format("B=true,A=false,DevicePlugins=1"), file="node.yaml")
    assert config.other_gates == {"A": False, "B": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nodeResources:\n  a.com/b: 1\n  gpumem: 3\n",
            "node.yaml:3: nodeResources.gpumem: 'gpumem' is not an extended resource name: it has no domain",
        ),
        ("nodeResources: {a.com/b: 1.5}\n", "node.yaml:1: nodeResources.a.com/b: a.com/b: 1.5 is not a whole number"),
        ("nodeResources: [a.com/b=1]\n", "node.yaml:1: nodeResources: must be a mapping, not a list"),
        (
            "kubeletArguments:\n  node-resource:\n  - a.com/b\n",
            "node.yaml:3: kubeletArguments.node-resource[0]: 'a.com/b' is not a resource of the node; write NAME=COUNT",
        ),
        (
            "kubeletArguments:\n  node-resource:\n  - a.com/b=-1\n",
            "node.yaml:3: kubeletArguments.node-resource[0]: a.com/b: -1 is negative",
        ),
        (
            OPENSHIFT.format("DevicePlugins"),
            "node.yaml:5: kubeletArguments.feature-gates[0]: 'DevicePlugins' is not a feature gate; "
            "write Name=true or Name=false",
        ),
        (
            "kubeletArguments:\n  feature-gates: DevicePlugins=true\n",
            "node.yaml:2: kubeletArguments.feature-gates: must be a list, not 'DevicePlugins=true'",
        ),
        (KUBELET.format("'yes'"), "node.yaml:3: featureGates.DevicePlugins: must be true or false, not 'yes'"),
        ("a: [", "node.yaml:1: this is not valid YAML: "),
        ("", "node.yaml: expected one YAML document, found 0"),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\n\nkind: NodeConfig\n",
            "node.yaml: this is MIME user data; put the part with the NodeConfig into a file of its own",
        ),
        ("# Bottlerocket\n\n[settings.kubernetes] # x\ncluster-name = 'x'\n", "node.yaml: this is not YAML but TOML"),
        ("[Service]\nExecStart=/usr/bin/kubelet --v=2\n", "node.yaml: this is not YAML but TOML (as Bottlerocket's"),
        ("kind: Pod\n", "node.yaml:1: this is neither an OpenShift node-config.yaml"),
        (
            "kind: KubeletConfiguration\n---\nkind: KubeletConfiguration\n",
            "node.yaml:3: expected one configuration, found 2; remove the others",
        ),
        (
            "kind: ConfigMap\ndata:\n  kubelet: |\n    kind: x\n    featureGates: 3\n",
            "node.yaml:5: data.kubelet.featureGates: must be a mapping, not '3'",
        ),
        (
            "kind: ConfigMap\ndata:\n  kubelet: |\n    kind: x\n    a: [\n",
            "node.yaml:6: data.kubelet: this is not valid YAML: ",
        ),
        (
            'kind: ConfigMap\ndata:\n  kubelet: "kind: x\\nfeatureGates: 3"\n',
            "node.yaml:3: data.kubelet.featureGates: must be a mapping, not '3'",
        ),
        (
            "kind: ConfigMap\ndata: {kubelet: ''}\n",
            "node.yaml:2: data.kubelet: expected one YAML document, found 0",
        ),
        ("kind: ConfigMap\ndata: {x: y}\n", "node.yaml:1: this is neither an OpenShift node-config.yaml"),
        ("kind: ClusterConfiguration\nfeatureGates: {A: true}\n", "node.yaml:1: this is neither an OpenShift"),
    ],
)
def test_an_error_names_file_line_and_field(text, message):
    with pytest.raises(BadInput) as caught:
        parse_node_config(text, file="node.yaml")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "nodeResources: {a.com/b: 16Gi, c.com/d: 010}\n",
        "kind: KubeletConfiguration\nnodeResources: {a.com/b: '17179869184', c.com/d: 8}\n",
        "kind: KubeletConfig\nspec: {kubeletConfig: {nodeResources: {a.com/b: 16Gi, c.com/d: 8}}}\n",
        "kubeletArguments: {feature-gates: [DevicePlugins=true], node-resource: ['a.com/b=16Gi,c.com/d=8']}\n",
        "kubeletArguments: {feature-gates: [DevicePlugins=true], node-resource: [a.com/b=16Gi, c.com/d=8]}\n",
    ],
)
def test_what_the_node_has_without_a_plugin_is_read_from_both_formats(text):
    config = parse_node_config(text, file="node.yaml")
    assert (dict(config.node_resources), config.warnings) == ({"a.com/b": 2**34, "c.com/d": 8}, ())


# --- what people have ----------------------------------------------------------------------------------

FILES = sorted((Path(__file__).parents[1] / "files" / "configs").iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_configuration_is_found_where_people_have_it(path):
    found = parse_node_config(path.read_text(), file=path.name)
    assert (found.device_plugins, found.topology.policy, found.topology.scope) == (True, "single-numa-node", "pod")
    assert not found.warnings


@pytest.mark.parametrize(
    ("wrapped", "how"),
    [
        (
            "kind: KubeletConfig\nspec: {kubeletConfig: {featureGates: {DevicePlugins: false}}}",
            "spec:\n  kubeletConfig:\n    featureGates:\n      DevicePlugins: true",
        ),
        ("kubelet: {featureGates: {DevicePlugins: false}}", "kubelet:\n  featureGates:\n    DevicePlugins: true"),
        (
            "kind: ConfigMap\ndata:\n  kubelet: |\n    featureGates: {DevicePlugins: false}\n",
            "data:\n  kubelet: |\n    featureGates:\n      DevicePlugins: true",
        ),
        (KUBELET.format("false"), "featureGates:\n  DevicePlugins: true"),
        ("kind: NodeConfig", "kubeletArguments:\n  feature-gates:\n  - DevicePlugins=true"),
    ],
)
def test_what_switches_it_on_has_the_shape_of_the_file(wrapped, how):
    found = parse_node_config(wrapped, file="node.yaml")
    assert (found.device_plugins, found.how_to_enable) == (False, how)


@pytest.mark.parametrize(
    "text",
    [
        "kind: KubeletConfig\nspec: {logLevel: 5}\n",
        "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {cluster: {name: x}}\n",
        "kind: List\nitems: [{kind: KubeletConfig, spec: {kubeletConfig: {maxPods: 9}}}]\n",
    ],
)
def test_an_object_that_says_nothing_of_devices_means_the_kubelets_defaults(text):
    found = parse_node_config(text, file="node.yaml")
    assert (found.device_plugins, found.topology.policy) == (True, "none")


ALIGNED = "{topologyManagerPolicy: single-numa-node, topologyManagerScope: pod}"
FLAGS = "[max-pods=200, feature-gates=DevicePlugins=true, topology-manager-policy=single-numa-node, "


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"machine: {{kubelet: {{extraConfig: {ALIGNED}}}}}", "machine.kubelet.extraConfig"),  # Talos
        (f"kind: InstanceGroup\nspec: {{kubelet: {ALIGNED}}}", "spec.kubelet"),  # kOps
        (f"kind: ClusterConfig\nspec: {{workerProfiles: [{{values: {ALIGNED}}}]}}", "spec.workerProfiles[0].values"),
        (f"kind: ClusterConfig\nnodeGroups: [{{kubeletExtraConfig: {ALIGNED}}}]", "nodeGroups[0].kubeletExtraConfig"),
        (  # kind
            f"kind: Cluster\nfeatureGates: {{A: true}}\nnodes:\n- kubeadmConfigPatches: ['{ALIGNED}', 'kind: x', '{{']",
            "nodes[0].kubeadmConfigPatches[0]",
        ),
        (f"kubelet-arg: {FLAGS}topology-manager-scope=pod]", "kubelet-arg"),  # k3s, RKE2
        (
            "kind: JoinConfiguration\nnodeRegistration: {kubeletExtraArgs: [{name: topology-manager-scope, value: pod},"
            " {name: topology-manager-policy, value: single-numa-node}]}",
            "nodeRegistration.kubeletExtraArgs",
        ),
        (  # an OpenShift Template
            f"kind: Template\nobjects: [{{kind: KubeletConfig, spec: {{kubeletConfig: {ALIGNED}}}}}]",
            "objects[0].spec.kubeletConfig",
        ),
        (f"objects:\n- kind: ConfigMap\n  data: {{kubelet: '{ALIGNED}'}}\n- a", "objects[0].data.kubelet"),
        (
            "a: 'kubeletExtraArgs: {topology-manager-policy: single-numa-node, topology-manager-scope: pod}'",
            "a.kubeletExtraArgs",
        ),
    ],
)
def test_a_configuration_anywhere_inside_is_found_with_a_warning(text, place):
    found = parse_node_config(text, file="n.yaml")
    assert (found.device_plugins, found.topology.policy, found.topology.scope) == (True, "single-numa-node", "pod")
    (warning,) = map(str, found.warnings)
    assert warning.partition(": ")[2].rpartition(": ")[0] == place
    assert "this is taken for the kubelet's " in warning


def test_an_empty_configuration_inside_means_the_defaults():
    """As in OpenShift's templates of a node's files."""
    found = parse_node_config("contents: {inline: 'kind: KubeletConfiguration'}", file="n.yaml")
    assert (found.device_plugins, found.topology.policy, len(found.warnings)) == (True, "none", 1)


def test_two_configurations_inside_are_refused():
    text = f"nodeGroups:\n- {{name: a, kubeletExtraConfig: {ALIGNED}}}\n- {{name: b, kubeletExtraConfig: {ALIGNED}}}\n"
    with pytest.raises(BadInput, match=r"^n.yaml:3: nodeGroups\[1\].kubeletExtraConfig: expected one configuration"):
        parse_node_config(text, file="n.yaml")


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("kubelet-arg: feature-gates=DevicePlugins=false", "kubelet-arg:\n- feature-gates=DevicePlugins=true"),
        (
            "a: {kubeletExtraArgs: {feature-gates: DevicePlugins=false}}",
            "a.kubeletExtraArgs:\n  feature-gates: DevicePlugins=true",
        ),
        (
            "machine: {extraConfig: {featureGates: {DevicePlugins: false}}}",
            "machine.extraConfig:\n  featureGates:\n    DevicePlugins: true",
        ),
    ],
)
def test_what_is_found_inside_can_switch_it_off(text, how):
    found = parse_node_config(text, file="n.yaml")
    assert (found.device_plugins, found.how_to_enable) == (False, how)


@pytest.mark.parametrize(
    "text",
    [
        "kind: PerformanceProfile\nspec: {numa: {topologyPolicy: restricted}}",
        "kubelet-arg: [max-pods=200]",
        "kind: Cluster\nfeatureGates: {A: true}\nrun: 'kubelet --topology-manager-policy=$(cat x) {'",
    ],
)
def test_an_error_without_a_configuration_says_how_to_print_one(text):
    with pytest.raises(
        BadInput, match=r"to print a running node's: kubectl get --raw /api/v1/nodes/NODE/proxy/configz$"
    ):
        parse_node_config(text, file="n.yaml")


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("featureGates: {A: true, A: false}", ["n.yaml:1: featureGates.A: appears twice; the last one counts"]),
        (
            "kind: KubeletConfiguration\ntopologyManagerPolicy: restricted\ntopologyManagerPolicy: best-effort\n",
            ["n.yaml:3: topologyManagerPolicy: appears twice; the last one counts"],
        ),
        (
            "kind: ConfigMap\ndata:\n  kubelet: |\n    maxPods: 1\n    maxPods: 2\n",
            ["n.yaml:5: data.kubelet.maxPods: appears twice; the last one counts"],
        ),
        (
            "kind: KubeletConfiguration\ntopolgyManagerPolicy: restricted\nfeaturegates: {}\n",
            [
                "n.yaml:2: topolgyManagerPolicy: unknown key; did you mean topologyManagerPolicy?",
                "n.yaml:3: featuregates: unknown key; did you mean featureGates?",
            ],
        ),
        (
            "kubelet: {topology-manager-policy: restricted}\n",
            [
                "n.yaml:1: kubelet.topology-manager-policy: unknown key; did you mean topologyManagerPolicy?",
            ],
        ),
        (
            "kubeletArguments: {topology-manager-polcy: [restricted], cpu-manager-policy: [static]}\n",
            [
                "n.yaml:1: kubeletArguments.topology-manager-polcy: unknown key; did you mean topology-manager-policy?",
            ],
        ),
        (
            OPENSHIFT.format("DevicePlugin=true"),
            [
                "n.yaml:5: kubeletArguments.feature-gates[0]: DevicePlugin means nothing; did you mean DevicePlugins?",
            ],
        ),
        (
            KUBELET.format("true") + "  device-plugins: false\n",
            ["n.yaml:4: featureGates.device-plugins: unknown key; did you mean DevicePlugins?"],
        ),
        (
            "kind: JoinConfiguration\nnodeRegistration:\n  kubeletExtraArgs: {feature-gates: A=true, v: '2'}\n"
            "---\nkind: KubeletConfiguration\n",
            [
                "n.yaml:3: nodeRegistration.kubeletExtraArgs.feature-gates: feature-gates is not read here; "
                "put it into the KubeletConfiguration"
            ],
        ),
        (
            "kind: JoinConfiguration\nnodeRegistration:\n  kubeletExtraArgs:\n  - {name: topology-manager-policy}\n"
            "---\nkind: KubeletConfiguration\n",
            [
                "n.yaml:4: nodeRegistration.kubeletExtraArgs[0]: topology-manager-policy is not read here; "
                "put it into the KubeletConfiguration"
            ],
        ),
    ],
)
def test_what_is_odd_is_a_warning_and_no_error(text, warnings):
    assert [str(warning) for warning in parse_node_config(text, file="n.yaml").warnings] == warnings


def test_of_a_duplicate_key_the_last_one_counts():
    text = "kind: KubeletConfiguration\ntopologyManagerPolicy: restricted\ntopologyManagerPolicy: best-effort\n"
    assert parse_node_config(text, file="n.yaml").topology.policy == "best-effort"


# Of KubeletConfiguration (Kubernetes v1.37): none of them is ours, and none may be taken for a misspelt one of ours.
FOREIGN_KEYS = """address allowedUnsafeSysctls authentication authorization cgroupDriver cgroupRoot cgroupsPerQOS
clusterDNS clusterDomain configMapAndSecretChangeDetectionStrategy containerLogMaxFiles containerLogMaxSize
containerLogMaxWorkers containerLogMonitorInterval containerRuntimeEndpoint contentType cpuCFSQuota
cpuCFSQuotaPeriod cpuManagerPolicy cpuManagerPolicyOptions cpuManagerReconcilePeriod crashLoopBackOff
defaultPodSysctls enableContentionProfiling enableControllerAttachDetach enableDebugFlagsHandler
enableDebuggingHandlers enableProfilingHandler enableServer enableSystemLogHandler enableSystemLogQuery
enforceNodeAllocatable eventBurst eventRecordQPS evictionHard evictionMaxPodGracePeriod evictionMinimumReclaim
evictionPressureTransitionPeriod evictionSoft evictionSoftGracePeriod failCgroupV1 failSwapOn fileCheckFrequency
hairpinMode healthzBindAddress healthzPort httpCheckFrequency imageGCHighThresholdPercent imageGCLowThresholdPercent
imageMaximumGCAge imageMinimumGCAge imagePullCredentialsVerificationPolicy imageServiceEndpoint iptablesDropBit
iptablesMasqueradeBit kernelMemcgNotification kubeAPIBurst kubeAPIQPS kubeReserved kubeReservedCgroup kubeletCgroups
localStorageCapacityIsolation logging makeIPTablesUtilChains maxOpenFiles maxParallelImagePulls maxPods
memoryManagerPolicy memoryReservationPolicy memorySwap memoryThrottlingFactor mergeDefaultEvictionSettings
nodeLeaseDurationSeconds nodeStatusMaxImages nodeStatusReportFrequency nodeStatusUpdateFrequency oomScoreAdj podCIDR
podLogsDir podPidsLimit podsPerCore port preloadedImagesVerificationAllowlist protectKernelDefaults providerID
qosReserved readOnlyPort registerNode registerWithTaints registryBurst registryPullQPS reservedMemory
reservedSystemCPUs resolvConf rotateCertificates runOnce runtimeRequestTimeout seccompDefault serializeImagePulls
serverTLSBootstrap showHiddenMetricsForVersion shutdownGracePeriod shutdownGracePeriodByPodPriority
shutdownGracePeriodCriticalPods singleProcessOOMKill staticPodPath staticPodURL staticPodURLHeader
streamingConnectionIdleTimeout swapBehavior syncFrequency systemCgroups systemReserved systemReservedCgroup
tlsCertFile tlsCipherSuites tlsCurvePreferences tlsMinVersion tlsPrivateKeyFile tracing userNamespaces
volumePluginDir volumeStatsAggPeriod""".split()  # noqa: SIM905


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("prometheus: {enabled: true}\nkubelet: {enabled: true, namespace: kube-system}\n", True),
        ("prometheus: {enabled: true}\nkubelet: {topologyManagerPolicy: none}\n", False),
        ("node: {hostnameOverride: n}\nkubelet: {maxPods: 100}\n", False),
        ("kubelet: {}\n", False),
    ],
)
def test_a_kubelet_key_that_may_not_be_microshifts_is_warned_of(text, is_told):
    """A chart's values may have a ``kubelet``, too."""
    found = parse_node_config(text, file="values.yaml")
    told = "values.yaml:2: kubelet: this is taken for the kubelet's configuration"
    assert (found.device_plugins, [*map(str, found.warnings)]) == (True, [told] if is_told else [])


def test_keys_of_other_features_are_not_warned_of():
    lines = [f"{key}: x" for key in FOREIGN_KEYS]
    found = parse_node_config("\n".join(["kind: KubeletConfiguration", *lines]), file="n.yaml")
    assert not found.warnings
    flags = ["".join(f"-{c.lower()}" if c.isupper() else c for c in key) for key in FOREIGN_KEYS]
    text = "\n".join(["kubeletArguments:", *(f"  {flag}: [x]" for flag in flags)])
    assert not parse_node_config(text, file="n.yaml").warnings


# --- the version of Kubernetes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("kind: KubeletConfiguration\nkubernetesVersion: 1.36\n", "1.36"),
        ("kind: KubeletConfiguration\nkubernetesVersion: '1.37'\n", "1.37"),
        ("kubeletArguments:\n  kubernetes-version: ['1.37', '1.36']\n", "1.36"),
        ("kubelet-arg: [topology-manager-policy=none, kubernetes-version=1.36]\n", "1.36"),
        ("kind: KubeletConfiguration\n", ""),
    ],
)
def test_the_version_of_kubernetes_may_be_stated(text, version):
    found = parse_node_config(text, file="n.yaml")
    assert (found.kubernetes_version, found.other_gates) == (version, {})
    assert not [warning for warning in found.warnings if "ersion" in str(warning)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "kind: KubeletConfiguration\nkubernetesVersion: v1.37.2\n",
            "n.yaml:2: kubernetesVersion: must be 1.36 or 1.37, not v1.37.2",
        ),
        (
            "kubeletArguments:\n  kubernetes-version: ['1.35']\n",
            "n.yaml:2: kubeletArguments.kubernetes-version[0]: must be 1.36 or 1.37, not 1.35",
        ),
    ],
)
def test_another_version_is_an_error_with_its_place(text, message):
    with pytest.raises(BadInput) as caught:
        parse_node_config(text, file="n.yaml")
    assert str(caught.value) == message


def test_the_version_of_a_cluster_makes_no_file_a_configuration():
    """kubeadm, kOps and kind have a ``kubernetesVersion``, of a cluster."""
    cluster = "kind: Cluster\nspec:\n  kubernetesVersion: 1.30.1\n  kubelet: {topologyManagerPolicy: restricted}\n"
    found = parse_node_config(cluster, file="n.yaml")
    assert (found.topology.policy, found.kubernetes_version) == ("restricted", "")
    for text in ("kubernetesVersion: v1.37.2\n", "kind: ClusterConfiguration\nkubernetesVersion: v1.36.0\n"):
        with pytest.raises(BadInput, match="neither an OpenShift"):
            parse_node_config(text, file="n.yaml")


# --- several files -------------------------------------------------------------------------------------


def test_drop_ins_add_to_the_files_before_them():
    """As on EKS's and k3s's nodes: mappings are merged, and the last of a single value counts."""
    base = (
        "kind: KubeletConfiguration\nfeatureGates: {DevicePlugins: false, A: true}\ntopologyManagerPolicy: restricted\n"
        "topologyManagerPolicyOptions: {prefer-closest-numa-nodes: 'true'}\n"
    )
    first = (
        "kind: KubeletConfiguration\ntopologyManagerScope: pod\n"
        "topologyManagerPolicyOptions: {max-allowable-numa-nodes: '9'}\n"
    )
    second = "kind: KubeletConfiguration\nmaxPods: 3\nfeatureGates: {DevicePlugins: true}\ntopologManagerScope: x\n"
    found = parse_node_configs([("base", base), ("1.conf", first), ("2.conf", second)])
    assert (found.device_plugins, found.topology.policy, found.topology.scope) == (True, "restricted", "pod")
    assert found.topology.options == {"prefer-closest-numa-nodes": "true", "max-allowable-numa-nodes": "9"}
    places = {name: place.bad("x").file for name, place in found.topology.places.items()}
    assert places == {"policy": "base", "scope": "1.conf", "options": "1.conf"}
    assert (found.other_gates, [warning.file for warning in found.warnings]) == ({"A": True}, ["2.conf"])


def test_the_gate_is_off_by_default_if_any_file_is_openshifts():
    openshift, kubelet = ("a", "kubeletArguments: {v: ['2']}"), ("b", "kind: KubeletConfiguration")
    assert not parse_node_configs([openshift, kubelet]).device_plugins
    assert parse_node_configs([kubelet, kubelet]).device_plugins


# --- topology ------------------------------------------------------------------------------------------


def test_the_topology_of_a_kubelet_configuration():
    text = (
        "kind: KubeletConfiguration\ntopologyManagerPolicy: restricted\ntopologyManagerScope: pod\n"
        'topologyManagerPolicyOptions: {max-allowable-numa-nodes: "10"}\n'
    )
    found = parse_node_config(text, file="k.yaml")
    assert found.device_plugins
    assert (found.topology.policy, found.topology.scope) == ("restricted", "pod")
    assert found.topology.options == {"max-allowable-numa-nodes": "10"}
    assert {name: place.bad("x").line for name, place in found.topology.places.items()} == {
        "policy": 2,
        "scope": 3,
        "options": 4,
    }


def test_the_topology_of_kubelet_arguments():
    text = (
        "kind: NodeConfig\nkubeletArguments:\n  feature-gates: [DevicePlugins=true]\n"
        "  topology-manager-policy: [none, best-effort]\n  topology-manager-scope: [container]\n"
        "  topology-manager-policy-options: ['prefer-closest-numa-nodes=true,max-allowable-numa-nodes=9']\n"
    )
    found = parse_node_config(text, file="n.yaml").topology
    assert (found.policy, found.scope) == ("best-effort", "container")
    assert found.options == {"prefer-closest-numa-nodes": "true", "max-allowable-numa-nodes": "9"}


def test_the_default_policy_is_none():
    empty = "topologyManagerPolicy: ''\ntopologyManagerScope: ''\n"
    found, same = (
        parse_node_config(f"kind: KubeletConfiguration\n{more}", file="k.yaml").topology for more in ("", empty)
    )
    assert (found.policy, found.scope) == (same.policy, same.scope) == ("none", "container")
    assert (found.policy, found.scope, found.options) == ("none", "container", {})


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("topologyManagerPolicy: [a]", "n.yaml:2: topologyManagerPolicy: must be a single value"),
        ("topologyManagerPolicyOptions: x", "n.yaml:2: topologyManagerPolicyOptions: must be a mapping"),
    ],
)
def test_a_topology_of_the_wrong_shape_names_its_place(line, problem):
    with pytest.raises(BadInput) as caught:
        parse_node_config(f"kind: KubeletConfiguration\n{line}\n", file="n.yaml")
    assert str(caught.value).startswith(problem)


KUBELET_TOPOLOGY = """kind: KubeletConfiguration
topologyManagerPolicy: p
topologyManagerScope: s
topologyManagerPolicyOptions: {o: x}
"""
OPENSHIFT_TOPOLOGY = """kubeletArguments:
  topology-manager-policy: [p]
  topology-manager-scope: [s]
  topology-manager-policy-options: [o=x]
"""


@pytest.mark.parametrize("text", [KUBELET_TOPOLOGY, OPENSHIFT_TOPOLOGY], ids=["kubelet", "OpenShift"])
@pytest.mark.parametrize(("code", "line"), [("unknown_policy", 2), ("unknown_scope", 3), ("unknown_option", 4)])
def test_each_setting_of_a_topology_has_its_own_place(text, code, line):
    """TM-2: what is wrong may be the scope alone."""
    place = parse_node_config(text, file="n.yaml").topology.place_of(UnusableTopology("", code=code))
    assert place is not None
    assert place.bad("").line == line
