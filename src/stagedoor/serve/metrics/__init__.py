"""What is measured of a gateway: in its workers, counted together by the supervisor."""
