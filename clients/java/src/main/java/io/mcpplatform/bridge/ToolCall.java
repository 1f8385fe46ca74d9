package io.mcpplatform.bridge;

import java.util.Map;

/** One call of a batch. */
public record ToolCall(String toolName, Map<String, ?> arguments) {}
