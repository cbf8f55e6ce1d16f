//go:build tools

// Package tools pins the program that the end-to-end tests run.
package tools

import _ "github.com/prometheus/prometheus/cmd/prometheus"
