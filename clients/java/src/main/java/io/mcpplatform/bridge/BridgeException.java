package io.mcpplatform.bridge;

import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/** An error that the bridge answered with, or {@code CONNECTION_FAILED} where it did not answer. */
public class BridgeException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final String code;
    private final int status;
    private final transient Map<String, Object> details;
    private final String requestId;
    private final Duration retryAfter;

    BridgeException(
            String code,
            int status,
            String message,
            Map<String, Object> details,
            String requestId,
            Duration retryAfter,
            Throwable cause) {
        super(message, cause);
        this.code = code;
        this.status = status;
        this.details = details;
        this.requestId = requestId;
        this.retryAfter = retryAfter;
    }

    static BridgeException unreachable(String message, int status, Throwable cause) {
        return new BridgeException("CONNECTION_FAILED", status, message, Map.of(), null, null, cause);
    }

    /** The bridge's code, such as {@code TOOL_NOT_FOUND}. */
    public String code() {
        return code;
    }

    /** The HTTP status; 0 within a batch, and where there was no answer. */
    public int status() {
        return status;
    }

    /** What the bridge says besides, such as {@code field} of an {@code INVALID_REQUEST}. */
    public Map<String, Object> details() {
        return details;
    }

    /** What to quote when asking for help. */
    public Optional<String> requestId() {
        return Optional.ofNullable(requestId);
    }

    /** When to try again, where the bridge says so. */
    public Optional<Duration> retryAfter() {
        return Optional.ofNullable(retryAfter);
    }

    @Override
    public String toString() {
        return code + ": " + getMessage();
    }
}
