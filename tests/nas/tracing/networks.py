"""The networks that must become elastic."""

TORCHVISION = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "mnasnet1_0",
    "efficientnet_b0",
    "resnet18",
    "resnet50",
    "regnet_y_400mf",
    "squeezenet1_1",
    "densenet121",
    "shufflenet_v2_x1_0",
)
TIMM = (
    "tf_efficientnet_lite0",
    "mobilenetv4_conv_small",
    "repvgg_a0",
    "mobileone_s0",
    "ghostnetv2_100",
    "tinynet_e",
    "convnext_atto",
)
NETWORKS = (*(f"torchvision:{name}" for name in TORCHVISION), *(f"timm:{name}" for name in TIMM))
