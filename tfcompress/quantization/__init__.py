"""LiteRT (TFLite) models: conversion, calibration, and reading what a file holds."""
