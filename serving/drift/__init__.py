"""The drift service (:8001): drift verdicts, reports, the alert webhook."""
