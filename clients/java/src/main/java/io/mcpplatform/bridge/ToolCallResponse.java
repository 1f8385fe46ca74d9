package io.mcpplatform.bridge;

import java.time.Duration;
import java.util.Optional;

/**
 * What came of a call.
 *
 * @param toolName the tool
 * @param value its text, its structured content or its content blocks; null where the call failed
 * @param executionTime how long it took
 * @param serviceInstance which instance answered
 * @param requestId what the request is called in logs
 * @param failure why a call of a batch failed; null where it did not
 */
public record ToolCallResponse(
        String toolName,
        Object value,
        Duration executionTime,
        String serviceInstance,
        String requestId,
        BridgeException failure) {

    /** Whether the tool answered. */
    public boolean success() {
        return failure == null;
    }

    /** Why a call of a batch failed. */
    public Optional<BridgeException> error() {
        return Optional.ofNullable(failure);
    }

    /**
     * The tool's answer as a text; where it is none, as JSON.
     *
     * @throws BridgeException if the call failed
     */
    public String result() {
        if (failure != null) {
            throw failure;
        }
        return value instanceof String text ? text : Json.write(value);
    }
}
