"""Codes of the rubric USAGERS, word for word from the official description, with English beside them.

One line per code: ``code | français | English``. ``actp`` writes 10 and 11 as the letters A and B.
"""

_EQUIPMENT = """
0 | Aucun équipement | No equipment
1 | Ceinture | Seat belt
2 | Casque | Helmet
3 | Dispositif enfants | Child restraint
4 | Gilet réfléchissant | Reflective vest
5 | Airbag (2RM/3RM) | Airbag (two- or three-wheeler)
6 | Gants (2RM/3RM) | Gloves (two- or three-wheeler)
7 | Gants + Airbag (2RM/3RM) | Gloves and airbag (two- or three-wheeler)
8 | Non déterminable | Cannot be determined
9 | Autre | Other
"""

USAGERS = {
    "place": (
        "Place occupée",
        "Seat",
        """
        1 | Conducteur | Driver's seat
        2 | Avant droit | Front right
        3 | Arrière droit | Rear right
        4 | Arrière gauche | Rear left
        5 | Arrière milieu | Rear middle
        6 | Avant milieu | Front middle
        7 | Milieu gauche | Middle row left
        8 | Milieu centre | Middle row centre
        9 | Milieu droit | Middle row right
        10 | Piéton (non applicable) | Pedestrian (not applicable)
        """,
    ),
    "catu": (
        "Catégorie d'usager",
        "Kind of road user",
        """
        1 | Conducteur | Driver
        2 | Passager | Passenger
        3 | Piéton | Pedestrian
        """,
    ),
    "grav": (
        "Gravité de blessure",
        "Severity of injury",
        """
        1 | Indemne | Unharmed
        2 | Tué | Killed
        3 | Blessé hospitalisé | Hospitalised
        4 | Blessé léger | Slightly injured
        """,
    ),
    "sexe": (
        "Sexe",
        "Sex",
        """
        1 | Masculin | Male
        2 | Féminin | Female
        """,
    ),
    "trajet": (
        "Motif du déplacement",
        "Purpose of the journey",
        """
        0 | Non renseigné | Not filled in
        1 | Domicile - travail | Home to work
        2 | Domicile - école | Home to school
        3 | Courses - achats | Shopping
        4 | Utilisation professionnelle | On duty
        5 | Promenade - loisirs | Leisure
        9 | Autre | Other
        """,
    ),
    "secu1": ("Équipement de sécurité 1", "Safety equipment 1", _EQUIPMENT),
    "secu2": ("Équipement de sécurité 2", "Safety equipment 2", _EQUIPMENT),
    "secu3": ("Équipement de sécurité 3", "Safety equipment 3", _EQUIPMENT),
    "locp": (
        "Localisation du piéton",
        "Where the pedestrian was",
        """
        0 | Sans objet | Not applicable
        1 | Sur chaussée, à + 50 m du passage piéton | On the carriageway, over 50 m from a crossing
        2 | Sur chaussée, à - 50 m du passage piéton | On the carriageway, within 50 m of a crossing
        3 | Sur passage piéton, sans signalisation lumineuse | On a crossing without lights
        4 | Sur passage piéton, avec signalisation lumineuse | On a crossing with lights
        5 | Sur trottoir | On the pavement
        6 | Sur accotement | On the verge
        7 | Sur refuge ou BAU | On a refuge or the hard shoulder
        8 | Sur contre-allée | On a service road
        9 | Inconnue | Unknown
        """,
    ),
    "actp": (
        "Action du piéton",
        "What the pedestrian did",
        """
        0 | Non renseigné ou sans objet | Not filled in or not applicable
        1 | Sens véhicule heurtant | Moving with the vehicle
        2 | Sens inverse du véhicule | Moving against the vehicle
        3 | Traversant | Crossing
        4 | Masqué | Hidden from view
        5 | Jouant - courant | Playing or running
        6 | Avec animal | With an animal
        9 | Autre | Other
        10 | Monte/descend du véhicule | Getting in or out of the vehicle
        11 | Inconnue | Unknown
        """,
    ),
    "etatp": (
        "Piéton seul ou non",
        "Pedestrian alone or not",
        """
        1 | Seul | Alone
        2 | Accompagné | Accompanied
        3 | En groupe | In a group
        """,
    ),
}
