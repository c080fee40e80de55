"""Devices: transport x runtime x conditions. Networks go there, measured latencies (milliseconds) come back."""

from nas.devices.device import Device
from nas.devices.registry import get_device, list_devices

__all__ = ["Device", "get_device", "list_devices"]
